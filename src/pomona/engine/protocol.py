"""Messages that cross the border between gateway and engine process: msgpack over one ZeroMQ PAIR socket.

No mlx in here: the gateway imports this module.
"""

from pathlib import Path

import msgspec

from pomona.core.generation import (
    FinishReason,
    Grammar,
    Priority,
    Prompt,
    PromptPicture,
    ReasoningLimit,
    SamplingParams,
    TokenLogprobs,
    TokenStep,
)
from pomona.core.settings import EngineSettings, LoggingSettings, ModelsSettings, Section, VectorsSettings
from pomona.core.status import EngineCounters, Task
from pomona.core.tracing.times import RowTimes


class Prepare(Section):
    """What an engine process is told first, as a line of JSON on its standard input: enough to import all that it will need."""

    cache_folder: Path
    models: ModelsSettings


class Launch(Section):
    """What an engine process is told next, whenever that is, as another line. The input then stays open as a sign of life."""

    address: str
    """ZeroMQ address to connect to."""
    model: str
    """Name to show."""
    folder: Path
    cache_folder: Path
    heartbeat_seconds: float
    engine: EngineSettings
    models: ModelsSettings
    logging: LoggingSettings
    vectors: VectorsSettings = VectorsSettings()
    draft: Path | None = None
    """Folder of the model that drafts for this one."""
    task: Task | None = None
    """What the model is for; None: what its files say."""


SAMPLING_FIELDS = tuple(SamplingParams.__slots__)


class Add(msgspec.Struct, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """Gateway -> engine: start a row. Fields as in `core.generation.Prompt` and `SamplingParams`."""

    id: str
    token_ids: list[int]
    max_tokens: int
    stop_token_ids: list[int] = []
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = {}
    seed: int | None = None
    logprobs: int | None = None
    logprob_token_ids: tuple[int, ...] = ()
    grammar: Grammar | None = None
    reasoning_limit: ReasoningLimit | None = None
    prompt_logprobs: int | None = None
    priority: Priority = "normal"
    caller: str = ""
    answered_ids: list[int] = []
    adapter: str | None = None
    pictures: tuple[PromptPicture, ...] = ()

    @classmethod
    def of(cls, prompt: Prompt) -> "Add":
        """`prompt` as a message."""
        sampling = {name: getattr(prompt.sampling, name) for name in SAMPLING_FIELDS}
        sampling["logit_bias"] = dict(prompt.sampling.logit_bias)
        return cls(
            id=prompt.id,
            token_ids=list(prompt.token_ids),
            max_tokens=prompt.max_tokens,
            stop_token_ids=list(prompt.stop_token_ids),
            grammar=prompt.grammar,
            reasoning_limit=prompt.reasoning_limit,
            prompt_logprobs=prompt.prompt_logprobs,
            priority=prompt.priority,
            caller=prompt.caller,
            answered_ids=list(prompt.answered_ids),
            adapter=prompt.adapter,
            pictures=prompt.pictures,
            **sampling,
        )

    def prompt(self) -> Prompt:
        """The prompt that this message was made of."""
        return Prompt(
            id=self.id,
            token_ids=tuple(self.token_ids),
            sampling=SamplingParams(**{name: getattr(self, name) for name in SAMPLING_FIELDS}),
            max_tokens=self.max_tokens,
            stop_token_ids=tuple(self.stop_token_ids),
            grammar=self.grammar,
            reasoning_limit=self.reasoning_limit,
            prompt_logprobs=self.prompt_logprobs,
            priority=self.priority,
            caller=self.caller,
            answered_ids=tuple(self.answered_ids),
            adapter=self.adapter,
            pictures=self.pictures,
        )


class TextInput(msgspec.Struct, frozen=True, array_like=True):
    """One text in ids. Of a pair, the second text begins at `second`; the first `prompt` tokens are an instruction."""

    token_ids: list[int]
    second: int | None = None
    prompt: int = 0


class Encode(msgspec.Struct, tag=True, frozen=True):
    """Gateway -> engine: make a vector of each text, or a score where the model is a reranker. Answered by one Encoded or Refused."""

    id: str
    texts: list[TextInput]


class Cancel(msgspec.Struct, tag=True, frozen=True):
    """Gateway -> engine: drop the row, or the texts of an Encode, at the next step. Unknown ids are ignored. No answer is sent."""

    id: str


class Pause(msgspec.Struct, tag=True, frozen=True):
    """Gateway -> engine: the reader is slow; keep the row but do not step it."""

    id: str


class Resume(msgspec.Struct, tag=True, frozen=True):
    """Gateway -> engine: the reader caught up."""

    id: str


class Shrink(msgspec.Struct, tag=True, frozen=True):
    """Gateway -> engine: give back what is kept only because it may be of use again, also on `disk`."""

    disk: bool = False


class Shutdown(msgspec.Struct, tag=True, frozen=True):
    """Gateway -> engine: finish the current step, free everything, exit 0."""


class Loading(msgspec.Struct, tag=True, frozen=True):
    """Engine -> gateway, first of all: the process is up and connected; it loads the model now."""


class Ready(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Engine -> gateway: the model is loaded and a first step has run."""

    model: str
    architecture: str
    device: str
    max_context: int
    vocabulary: int
    weight_bytes: int
    kv_budget_bytes: int
    load_seconds: float
    stats: EngineCounters
    dimensions: int = 0
    """Of the vectors that an embedder makes."""
    warnings: list[str] = []


class LoadFailed(msgspec.Struct, tag=True, frozen=True):
    """Engine -> gateway: the model cannot be loaded. `code` is that of a `core.errors` class. The process exits."""

    code: str
    message: str


class Row(msgspec.Struct, frozen=True, array_like=True):
    """What one step made for one row."""

    id: str
    token_ids: list[int] = []
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0
    logprobs: list[tuple[float, list[tuple[int, float]]]] = []
    """Per token: its log-probability and the most likely (token id, log-probability) pairs."""
    prompt_logprobs: list[tuple[float, list[tuple[int, float]]]] = []
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    times: RowTimes | None = None

    @classmethod
    def of(cls, prompt_id: str, step: TokenStep) -> "Row":
        """One entry of what `Engine.step` returns, as it crosses the border."""
        logprobs, of_prompt = [[(each.logprob, list(each.top)) for each in given] for given in (step.logprobs, step.prompt_logprobs)]
        ids, drafted, accepted = list(step.token_ids), step.drafted_tokens, step.accepted_tokens
        return cls(prompt_id, ids, step.finish_reason, step.cached_tokens, logprobs, of_prompt, drafted, accepted, step.times)

    def token_logprobs(self) -> tuple[TokenLogprobs, ...]:
        """`logprobs` as the types of `core.generation`."""
        return _typed(self.logprobs)

    def prompt_token_logprobs(self) -> tuple[TokenLogprobs, ...]:
        """`prompt_logprobs` as the types of `core.generation`."""
        return _typed(self.prompt_logprobs)


class Step(msgspec.Struct, tag=True, frozen=True):
    """Engine -> gateway: one step ran; all rows that got something, in one message."""

    rows: list[Row]
    stats: EngineCounters


class Encoded(msgspec.Struct, tag=True, frozen=True):
    """Engine -> gateway: `data` is (texts, width), float32, little-endian, row by row, in the order of the request's texts."""

    id: str
    width: int
    data: bytes


class Encoding(msgspec.Struct, tag=True, frozen=True):
    """Engine -> gateway: a pass over texts ran."""

    stats: EngineCounters


class Heartbeat(msgspec.Struct, tag=True, frozen=True):
    """Engine -> gateway, while idle: a small computation has just run on the device."""

    stats: EngineCounters


class Busy(msgspec.Struct, tag=True, frozen=True):
    """Engine -> gateway: what begins now may take `seconds`, such as the first step of a shape whose kernels must be compiled. Until
    then, or the next message, silence is no sign of a hang. `computing`: the CPU is busy all the time, or it hangs after all."""

    seconds: float
    computing: bool = True


class Fallen(msgspec.Struct, tag=True, frozen=True):
    """Engine -> gateway: the engine failed, and all its rows with it. The process exits."""

    message: str


class Refused(msgspec.Struct, tag=True, frozen=True):
    """Engine -> gateway: a row cannot be accepted or was lost. `code` is that of a `core.errors` class."""

    id: str
    code: str
    message: str


def _typed(pairs: list[tuple[float, list[tuple[int, float]]]]) -> tuple[TokenLogprobs, ...]:
    return tuple(TokenLogprobs(logprob=logprob, top=tuple(top)) for logprob, top in pairs)


ToEngine = Add | Encode | Cancel | Pause | Resume | Shrink | Shutdown
ToGateway = Loading | Ready | LoadFailed | Step | Encoded | Encoding | Heartbeat | Busy | Fallen | Refused
