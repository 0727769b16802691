"""What a pull will do: which files, what of them is missing, whether the model fits. Asks the hub and changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pomona.core.errors import InvalidRequest, ModelNotFound, ModelUnusable, PomonaError
from pomona.core.hub import FitReport, HubModel, PullRequest
from pomona.hub.download.cache import RepositoryCache
from pomona.hub.download.repository import RemoteFile, Repository, repository_of, total_size
from pomona.hub.fitting import AS_STORED, FORM_BITS, Machine, Needs, check_disk, check_memory, fit_report
from pomona.hub.naming import Origin, Wanted, converted_folder, origin_of
from pomona.hub.remote.connection import HubConnection
from pomona.hub.remote.describing import hub_model
from pomona.models.hub_cache import cache_folder, needed_files
from pomona.models.references import close_names
from pomona.models.weights import PICKLES

_GGUF_BITS = 16
"""Of a weight that came from GGUF and is not quantised anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`files` are all that are needed, `needs` what of them is not here yet. `target`: where a converted copy goes, where one is made."""

    wanted: Wanted
    repository: Repository
    files: tuple[RemoteFile, ...]
    model: HubModel
    report: FitReport
    needs: Needs
    form: str
    origin: Origin
    target: Path | None = None

    @property
    def is_converted(self) -> bool:
        """The copy is there, made of this very commit."""
        return self.target is not None and origin_of(self.target) == self.origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """Makes plans. `converted` is the folder of converted models."""

    connection: HubConnection
    machine: Machine
    converted: Path
    hub_cache: Path | None = None

    async def plan(self, request: PullRequest) -> Plan:
        """Raises InvalidRequest, ModelNotFound with close names, Forbidden, HubFailed, ModelUnusable for a repository without weights
        that are safe to load.
        """
        wanted = Wanted.parse(request.reference)
        repository, model = await self.look_up(wanted)
        files = repository.choose(_needed(repository, wanted))
        model = _sized(model, files)
        cache = RepositoryCache(repository, self.hub_cache)
        origin = Origin(repository=repository.id, commit=repository.commit, quantize=request.quantize, gguf=wanted.file)
        target = converted_folder(self.converted, wanted, request.quantize) if request.quantize or wanted.file else None
        form = request.quantize or AS_STORED
        needs = Needs(
            download_bytes=sum(file.size - cache.held_bytes(file) for file in cache.missing(files)),
            converted_bytes=_converted_bytes(model, form) if target and origin_of(target) != origin else 0,
        )
        return Plan(
            wanted=wanted,
            repository=repository,
            files=files,
            model=model,
            report=fit_report(model, self.machine, needs, cache.storage),
            needs=needs,
            form=form,
            origin=origin,
            target=target,
        )

    async def look_up(self, wanted: Wanted) -> tuple[Repository, HubModel]:
        """The repository and what is known of it, whether it can be pulled or not."""
        try:
            info = await self.connection.model_info(wanted.repository, wanted.revision)
        except ModelNotFound as error:
            raise await self._with_close_names(error, wanted) from None
        repository = repository_of(info, wanted.revision)
        has_config = any(file.name == "config.json" for file in repository.files)
        config = await self.connection.read_config(repository.id, repository.commit) if has_config else None
        return repository, hub_model(info, config)

    def check(self, plan: Plan, request: PullRequest) -> None:
        """Whether the pull may begin. Raises DoesNotFit, ModelUnusable for an architecture that cannot be loaded, InvalidRequest; `force`
        passes over memory and architecture.
        """
        if request.quantize and plan.model.quantization and not plan.wanted.file:
            raise InvalidRequest(
                f"{plan.repository.id!r} is quantised already ({plan.model.quantization}), so --quantize {request.quantize} would lose "
                "more than it saves. Pull it as it is, or quantise the model that it was made from.",
                param="quantize",
            )
        if not request.force:
            if plan.model.loadable is False:
                raise ModelUnusable(
                    f"{plan.repository.id!r} is of the type {plan.model.model_type!r}, which cannot be loaded here. --force gets it anyway."
                )
            check_memory(plan.report, plan.form, plan.repository.id)
        check_disk(plan.needs, self.machine, cache_folder(self.hub_cache), self.converted)

    async def _with_close_names(self, error: ModelNotFound, wanted: Wanted) -> ModelNotFound:
        """The same error with names that the hub has and that are written alike."""
        if " revision " in error.message:
            return error
        organisation, _, name = wanted.repository.partition("/")
        names: list[str] = []
        for words in (name, f"{organisation}/"):
            try:
                found = [info.id for info in await self.connection.list_models(words, limit=20, sort="downloads")]
            except PomonaError:
                return error
            names = close_names(wanted.repository, found)
            if names:
                break
        hint = f" Did you mean {' or '.join(map(repr, names))}?" if names else " `pomona search WORDS` looks for models."
        return ModelNotFound(error.message + hint, param="model")


def _needed(repository: Repository, wanted: Wanted) -> list[str]:
    names = [file.name for file in repository.files]
    if wanted.file:
        return _gguf_files(names, wanted)
    needed = needed_files(names)
    if needed:
        return needed
    gguf = sorted(name for name in names if name.lower().endswith(".gguf"))
    if gguf:
        choices = ", ".join(f"{repository.id}/{name}" for name in gguf[:6])
        raise InvalidRequest(
            f"{repository.id!r} holds GGUF files: name one of them. It has {choices}{' …' if gguf[6:] else ''}.", param="model"
        )
    pickles = sorted(name for name in names if any(name.endswith(pattern[1:]) for pattern in PICKLES))
    if pickles:
        raise ModelUnusable(
            f"{repository.id!r} has no safetensors, only {', '.join(pickles[:3])}: such files can run code when they are read, so Pomona "
            f"does not get them. `pomona search {repository.id.rpartition('/')[2]}` may find the model in another form."
        )
    raise ModelUnusable(f"{repository.id!r} holds no weights that Pomona can load (model*.safetensors).")


def _gguf_files(names: Sequence[str], wanted: Wanted) -> list[str]:
    """The file, with all that belong to it where it is one of several."""
    assert wanted.file is not None
    if wanted.file not in names:
        others = [name for name in names if name.lower().endswith(".gguf")]
        close = close_names(wanted.file, others) or others[:5]
        has = f"It has {', '.join(close)}." if close else "It has no GGUF files."
        raise ModelNotFound(f"{wanted.repository!r} has no file {wanted.file!r}. {has}", param="model")
    stem, marker, rest = wanted.file.rpartition("-of-")
    family = [name for name in names if marker and name.endswith(f"{marker}{rest}") and name.startswith(stem.rpartition("-")[0] + "-")]
    return sorted(
        {wanted.file, *family, *(name for name in needed_files([*names, "model.safetensors"]) if not name.endswith(".safetensors"))}
    )


def _sized(model: HubModel, files: Sequence[RemoteFile]) -> HubModel:
    weights = [file for file in files if file.name.endswith((".safetensors", ".gguf"))]
    return replace(model, weight_bytes=total_size(weights))


def _converted_bytes(model: HubModel, form: str) -> int:
    bits = FORM_BITS.get(form, _GGUF_BITS)
    return int((model.parameters or (model.weight_bytes or 0) / 2) * bits / 8)
