"""The calls of LM Studio's mlx-engine (`mlx_engine.generate`, MIT) over Pomona's engine.

    from pomona.compat.mlx_engine import create_generator, load_model, tokenize

Same names, arguments and results, with these differences: `load_model` takes any name that Pomona knows besides folders; a kit has
to be closed (`unload` or `with`); pictures belong into `Engine.chat`, since ids alone have no place for them. Arguments that mean
nothing here (`min_tokens_to_keep`, `repetition_context_size`, `quantized_kv_start`, `kv_group_size`) are accepted.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pomona.core.errors import Cancelled, InvalidRequest, UnsupportedField
from pomona.core.generation import Finished, Started, TextDelta, TokenText
from pomona.library import Engine
from pomona.models.drafts import DraftReport, check_draft

MAX_TOP_LOGPROBS = 10
StopReason = Literal["eos_token", "stop_string", "user_cancelled", "token_limit"]


class Token(NamedTuple):
    """One token. `logprob` is natural."""

    id: int
    text: str
    logprob: float
    from_draft: bool = False


class GenerationStopCondition(NamedTuple):
    """Why an answer ended."""

    stop_reason: StopReason
    stop_string: str
    stop_tokens: list[int]


class GenerationResult(NamedTuple):
    """A piece of an answer; the last one says why it ended."""

    text: str
    tokens: list[Token]
    top_logprobs: list[list[Token]]
    stop_condition: GenerationStopCondition | None


class ModelKit:
    """A model in memory, in this process."""

    def __init__(self, engine: Engine, overrides: dict[str, Any]) -> None:
        self._overrides = overrides
        self.engine = engine
        self.draft: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        unload(self)

    def draft_with(self, draft: str | None) -> None:
        """Load anew, with another model that drafts, or none."""
        self.engine.load(keep_alive=-1, draft=draft, **self._overrides)
        self.draft = draft

    def check(self, path: str | Path) -> DraftReport:
        """Whether the model at `path` can draft for this one."""
        folder = next(each.path for each in self.engine.stats().models if self.engine.model in {each.id, *each.aliases})
        return check_draft(Path(folder), Path(path).expanduser())


def load_model(  # noqa: PLR0913 - the arguments of the call that it stands for
    model_path: str | Path,
    *,
    vocab_only: bool = False,
    max_kv_size: int | None = 4096,
    trust_remote_code: bool = False,
    kv_bits: int | None = None,
    kv_group_size: int | None = None,
    quantized_kv_start: int | None = None,
) -> ModelKit:
    """Load a model by folder or name. Raises PomonaError."""
    del kv_group_size, quantized_kv_start
    if trust_remote_code:
        raise UnsupportedField("trust_remote_code: Pomona never runs code that comes with a model.", param="trust_remote_code")
    overrides: dict[str, Any] = {name: value for name, value in (("max_context", max_kv_size), ("kv_bits", kv_bits)) if value is not None}
    engine = Engine(settings={"models.default": str(model_path)}, in_process=True)
    engine.start()
    try:
        if not vocab_only:
            engine.load(keep_alive=-1, **overrides)
    except BaseException:
        engine.close()
        raise
    return ModelKit(engine, overrides)


def unload(model_kit: ModelKit) -> None:
    """Free the model's memory. Does nothing the second time."""
    model_kit.engine.close()


def load_draft_model(model_kit: ModelKit, path: str | Path) -> None:
    """Let the model at `path` draft. Raises InvalidRequest where it cannot, with the reasons."""
    report = model_kit.check(path)
    if not report.compatible:
        raise InvalidRequest(f"{str(path)!r} cannot draft for {model_kit.engine.model!r}: {' '.join(report.errors)}", param="path")
    model_kit.draft_with(str(path))


def is_draft_model_compatible(model_kit: ModelKit, path: str | Path) -> bool:
    """Whether the model at `path` can draft."""
    return model_kit.check(path).compatible


def unload_draft_model(model_kit: ModelKit) -> None:
    """Go on without a draft model."""
    if model_kit.draft is not None:
        model_kit.draft_with(None)


def tokenize(model_kit: ModelKit, prompt: str) -> list[int]:
    """The ids of `prompt`, as the model expects them at the beginning of a text."""
    return model_kit.engine.tokenize(prompt)


def create_generator(  # noqa: PLR0913 - the arguments of the call that it stands for
    model_kit: ModelKit,
    prompt_tokens: Sequence[int],
    *,
    prompt_progress_callback: Callable[[float], bool] | None = None,
    images_b64: Sequence[str] | None = None,
    stop_strings: Sequence[str] | None = None,
    top_logprobs: int | None = None,
    repetition_penalty: float | None = None,
    temp: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    seed: int | None = None,
    json_schema: str | None = None,
    max_tokens: int | None = None,
    request_id: str | None = None,
    **ignored: Any,
) -> Iterator[GenerationResult]:
    """Go on with `prompt_tokens`, piece by piece; closing the iterator ends the work.

    `prompt_progress_callback` gets 0 when the prompt is taken and 100 when it has been read; False from it ends the answer.
    """
    if images_b64:
        raise UnsupportedField(
            "images_b64: ids alone have no place for pictures. Use model_kit.engine.chat(..., images=[...]).", param="images_b64"
        )
    if top_logprobs is not None and top_logprobs > MAX_TOP_LOGPROBS:
        raise ValueError(f"top_logprobs must be less than or equal to {MAX_TOP_LOGPROBS}")
    del ignored
    options = {
        "stop": list(stop_strings) if stop_strings else None,
        "logprobs": top_logprobs or 0,
        "repetition_penalty": repetition_penalty,
        "temperature": temp,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "seed": seed,
        "response_format": _format(json_schema),
        "max_tokens": max_tokens or 2**31 - 1,
        "id": request_id,
    }
    return _pieces(model_kit, list(prompt_tokens), options, prompt_progress_callback or (lambda _: True))


def cancel(model_kit: ModelKit, request_id: str) -> bool:
    """End the answer that was begun with that `request_id`."""
    return model_kit.engine.cancel(request_id)


def _pieces(kit: ModelKit, ids: list[int], options: dict[str, Any], progress: Callable[[float], bool]) -> Iterator[GenerationResult]:
    reading = True
    events = kit.engine.stream(ids, **options)
    try:
        for event in events:
            going_on = progress(0.0) if isinstance(event, Started) else progress(100.0) if reading else True
            reading = isinstance(event, Started)
            if not going_on:
                yield _end("user_cancelled")
                return
            if isinstance(event, TextDelta):
                tokens = [_token(token) for token in event.logprobs]
                yield GenerationResult(event.text, tokens, [[_token(each) for each in token.top] for token in event.logprobs], None)
            elif isinstance(event, Finished):
                yield _end(
                    "token_limit" if event.reason == "length" else "stop_string" if event.stop_sequence else "eos_token",
                    event.stop_sequence,
                )
    except Cancelled:
        yield _end("user_cancelled")
    finally:
        events.close()


def _end(reason: StopReason, text: str | None = None) -> GenerationResult:
    return GenerationResult("", [], [], GenerationStopCondition(reason, text or "", []))


def _token(token: TokenText) -> Token:
    return Token(token.token_id, token.text, token.logprob)


def _format(schema: str | None) -> dict[str, Any] | None:
    if schema is None:
        return None
    try:
        document = json.loads(schema)
    except ValueError as error:
        raise InvalidRequest(f"json_schema is no JSON: {error}.", param="json_schema") from None
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": document, "strict": True}}
