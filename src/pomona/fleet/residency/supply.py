"""What a pool is supplied with: models by name, what each needs, and its engine."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from pomona.core.errors import ModelUnusable
from pomona.core.settings import ModelOverrides, Settings
from pomona.core.status import MemoryPlan, ModelFacts
from pomona.core.vectors import pass_tokens
from pomona.fleet.directory import Directory, ReadNames, no_names
from pomona.fleet.residency.lifecycle import RememberPin
from pomona.fleet.residency.memory.measuring import Measure, MeasureBook, measure_engine
from pomona.fleet.residency.memory.planning import Needs, estimate
from pomona.fleet.residency.memory.scales import Scales
from pomona.fleet.residency.overriding import keep_alive_of, overrides_of, settings_for
from pomona.fleet.residency.pool import ResidentPool
from pomona.fleet.residency.slots import Slot
from pomona.fleet.resident import Resident, Workshop, open_resident
from pomona.fleet.survival.care import Care
from pomona.fleet.tokenization import ModelTokenization
from pomona.models.catalog import look_into
from pomona.models.device import runs_on_cpu
from pomona.models.probe import Probe
from pomona.models.references import ResolvedModel, resolve


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a Pomona finds around it: what was kept from earlier runs, and how memory is looked at."""

    names: ReadNames = no_names
    """Registered models and aliases, as they are now."""
    pinned: frozenset[str] = frozenset()
    remember_pin: RememberPin = lambda _name, _pinned: None
    probe: Probe | None = None
    measure: Measure = measure_engine


class Supply:
    """Models by name, what they need, and their engines, as the settings have it. The pool is told to it once there is one."""

    def __init__(self, default: ResolvedModel, workshop: Workshop, budget: int, around: Surroundings) -> None:
        self.directory = Directory(default, workshop.settings.models, self._loaded, around.names)
        self.scales = Scales(MeasureBook(workshop.cache_folder / "measured.json"), around.measure, self._key)
        self.pool: ResidentPool | None = None
        self.budget = budget
        self._workshop = workshop
        self._settings = workshop.settings
        self._around = around
        self._care: dict[Path, Care] = {}
        self._overrides: dict[Path, ModelOverrides] = {}

    def enrol(self, model: ResolvedModel) -> Slot:
        """What holds for a model."""
        overrides = self._overrides_of(model)
        default = model.path == self.directory.default.path
        return Slot(
            model=model,
            name=model.id,
            keep_alive=keep_alive_of(overrides, self._settings, default=default),
            pinned=overrides.pin or model.id in self._around.pinned,
            default=default,
            care=self._care.setdefault(model.path, Care.of(self._settings.fleet)),
        )

    def required(self) -> Sequence[str]:
        """What is to be there before Pomona is ready."""
        overrides = self._settings.models.overrides
        named = [name for name, each in overrides.items() if each.preload or each.pin]
        return list(dict.fromkeys([self.directory.default.id, *self._settings.residency.preload, *named]))

    async def estimate(self, slot: Slot) -> Needs:
        """What `slot` will need."""
        return await asyncio.get_running_loop().run_in_executor(self._workshop.pool, self._estimate, slot)

    def _estimate(self, slot: Slot) -> Needs:
        facts, problem = look_into(slot.model.path)
        if facts is None:
            raise ModelUnusable(problem or f"The folder {str(slot.model.path)!r} cannot be read.")
        engine, known = self._settings_of(slot, None).engine, self.scales.known(slot)
        together = pass_tokens(self._settings.vectors.batch_tokens, cpu=self._expanded)
        needs = estimate(facts, engine, expanded=self._expanded, budget=self.budget, measured=known, pass_tokens=together)
        draft = self._draft_of(slot.model)
        drafting = look_into(draft)[0] if draft is not None and known is None else None
        if drafting is None:
            return needs
        return replace(needs, weights=needs.weights + estimate(drafting, engine, expanded=self._expanded, budget=self.budget).weights)

    def open(self, slot: Slot, plan: MemoryPlan) -> AbstractAsyncContextManager[Resident]:
        """Its engine, within `plan`."""
        settings = self._settings_of(slot, plan.kv)
        workshop = replace(self._workshop, settings=settings, adapter_of=self.directory.adapter_of, draft=self._draft_of(slot.model))
        return open_resident(slot.model, workshop, slot.care)

    def override(self, name: str, overrides: ModelOverrides) -> None:
        """Let `overrides` hold for `name` from its next load on. Raises ModelNotFound."""
        self._overrides[self.directory.resolve(name).path] = overrides

    def _draft_of(self, model: ResolvedModel) -> Path | None:
        """Where the model is that drafts for `model`: a path too, since no request names it. Raises ModelNotFound, ModelUnusable."""
        draft = self._overrides_of(model).draft
        if draft is None or self._settings.engine.speculation not in {"auto", "draft"}:
            return None
        return resolve(draft, self._settings.models, names=self._around.names()).path

    async def words(self, name: str) -> ModelTokenization:
        """How a model reads and writes, whether or not it is loaded."""
        model = self.directory.resolve(name)
        settings = self._settings_of(self.enrol(model), None)
        return ModelTokenization(await self._workshop.words_cache.words(model, settings.models), self._workshop.pool)

    @property
    def _expanded(self) -> bool:
        models = self._settings.models
        return models.dequantize_on_cpu and runs_on_cpu(models.device)

    def _key(self, slot: Slot) -> str:
        """A model as it runs here."""
        try:
            changed = int((slot.model.path / "config.json").stat().st_mtime)
        except OSError:
            changed = 0
        bits, draft = self._settings_of(slot, None).engine.kv_bits, self._draft_of(slot.model)
        stored = "float32" if self._expanded else "stored"
        return f"{slot.model.path} {changed} {self._settings.models.device} {stored} {bits}" + (f" {draft}" if draft else "")

    def _settings_of(self, slot: Slot, kv_bytes: int | None) -> Settings:
        return settings_for(self._overrides_of(slot.model), self._settings, default=slot.default, kv_bytes=kv_bytes)

    def _overrides_of(self, model: ResolvedModel) -> ModelOverrides:
        if model.path not in self._overrides:
            self._overrides[model.path] = overrides_of(model, self.directory.names_of(model), self._settings)
        return self._overrides[model.path]

    def _loaded(self, folder: Path) -> ModelFacts | None:
        slots = self.pool.slots if self.pool else ()
        slot = next((each for each in slots if each.model.path == folder), None)
        if slot is None or slot.stay is None or slot.stay.resident is None:
            return None
        return slot.stay.resident.engine.report().facts
