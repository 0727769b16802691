"""What goes into a model and what comes out of it.

The life of a request in types: `GenerateRequest` (words) -> `Prompt` (ids) -> `TokenStep` (ids, one per engine step)
-> `GenerateEvent` (words again).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pomona.core.errors import PomonaError
from pomona.core.messages import Message, ToolDefinition
from pomona.core.tracing.marks import AnswerTrace
from pomona.core.tracing.times import RowTimes

FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]
"""`tool_calls`: the model ended its answer in order to call tools. Engines know only the other three."""
Priority = Literal["low", "normal", "high"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How the next token is chosen. Every field acts per row: rows with different parameters share a batch.

    Penalties and bias change the logits first, then temperature divides them, then top-k, top-p and min-p cut the
    distribution, in this order. `temperature == 0` is greedy: the arg max of the penalised logits.
    """

    temperature: float = 1.0
    top_k: int = 0
    """Keep the k most likely tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of tokens whose probability reaches p; 1 keeps all."""
    min_p: float = 0.0
    """Drop tokens less likely than min_p times the most likely one; 0 drops none."""
    repetition_penalty: float = 1.0
    """Divide positive and multiply negative logits of tokens seen in prompt or output (CTRL, arXiv 1909.05858)."""
    presence_penalty: float = 0.0
    """Subtracted once from the logit of each token already in the output (OpenAI)."""
    frequency_penalty: float = 0.0
    """Subtracted per occurrence from the logit of each token already in the output (OpenAI)."""
    logit_bias: Mapping[int, float] = field(default_factory=dict[int, float])
    """Added to the logits of the given token ids."""
    seed: int | None = None
    """Same seed, same prompt, same text, whatever else is in the batch. None draws a fresh one."""
    logprobs: int | None = None
    """None: no log-probabilities. N: that of the chosen token and of the N most likely ones (0 <= N <= 20)."""
    logprob_token_ids: tuple[int, ...] = ()
    """Report the log-probabilities of these ids, in this order, behind the most likely ones. Implies `logprobs`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFormat:
    """The form that the whole answer must have. It is enforced token by token, never merely asked for.

    `source` is by kind: a JSON Schema as JSON text (`json_schema`, and `xml`, whose elements it describes), a regular expression
    (`regex`), a JSON list of strings (`choice`), a grammar in llguidance's dialect of Lark (`lark`), nothing (`json_object`).
    """

    kind: Literal["json_object", "json_schema", "regex", "choice", "lark", "xml"]
    source: str = ""
    param: str = "response_format"
    """The field of the request that it came from, for errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """Whether and which tools may be called. `required` is enforced by grammar."""

    mode: Literal["auto", "none", "required"] = "auto"
    names: tuple[str, ...] = ()
    """Only these may be called; empty: all. `required` with one name is OpenAI's named function and Anthropic's `tool`."""
    parallel: bool = True
    """An answer may make more than one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningOptions:
    """How much the model thinks before it answers. None leaves it to the model's template."""

    enabled: bool | None = None
    effort: str | None = None
    """none, minimal, low, medium, high, xhigh or max: given to templates that know efforts, turned into a budget for others."""
    budget_tokens: int | None = None
    """Most tokens of thought; then the end of the thought is forced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """A validated request in words. Exactly one of `messages`, `text` and `token_ids` is given."""

    id: str
    model: str
    messages: tuple[Message, ...] | None = None
    tools: tuple[ToolDefinition, ...] = ()
    text: str | None = None
    token_ids: tuple[int, ...] | None = None
    sampling: SamplingParams = SamplingParams()
    max_tokens: int | None = None
    """None: up to the end of the model's context."""
    clamp_max_tokens: bool = False
    """Where `max_tokens` is more than the context leaves, answer up to its end instead of refusing."""
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    template_options: Mapping[str, object] = field(default_factory=dict[str, object])
    """Extra variables for the chat template, such as `enable_thinking`."""
    continue_last_message: bool = False
    """Leave the last assistant message open, so that the model goes on with it."""
    suffix: str | None = None
    """The text that follows the gap which the model is to fill (fill in the middle); only with `text`."""
    tool_choice: ToolChoice = ToolChoice()
    output_format: OutputFormat | None = None
    reasoning: ReasoningOptions = ReasoningOptions()
    prompt_logprobs: int | None = None
    """Score the prompt too, as `SamplingParams.logprobs` does the answer; `max_tokens` may then be 0."""
    priority: Priority = "normal"
    caller: str = ""
    """Who asks: the id of an API key, empty where no key is needed. Records and kept answers go by it."""
    account: str = ""
    """Who shares the engine evenly with others: the holder of a key, an address, a session of a program on this machine."""
    keep_alive_seconds: float | None = None
    """How long the model is to stay loaded after this answer; 0: not at all, negative: for ever; None: as set for the model."""
    session: str = ""
    """What the client says its conversation is, such as `prompt_cache_key`: for cache diagnostics and retries."""
    trace: AnswerTrace | None = field(default=None, compare=False, repr=False)
    """Where those who work for the answer note what they do, and when."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """What may follow, for a grammar engine: `source` is llguidance's, a Lark grammar or a serialised one.

    Without `after` it holds from the first token, else behind the first of these ids: the end of a thought, the mark of a call.
    Until then the answer cannot end. At its end only the end of the answer may follow; if it `repeats`, the answer may end
    before and between, and the row is free again until the next of these ids.
    """

    source: str
    after: tuple[int, ...] = ()
    repeats: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningLimit:
    """When and how a thought is ended by force. `open_ids` is empty where the prompt itself has opened the thought.

    A thought begins behind the ids `open_ids` in a row and ends with `close_ids` in a row. After `budget_tokens` tokens of thought,
    all thoughts of an answer together, `forced_ids` are the next tokens, one by one.
    """

    budget_tokens: int
    open_ids: tuple[int, ...]
    close_ids: tuple[int, ...]
    forced_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPicture:
    """A picture as an engine takes it. Its features stand for those of the prompt's tokens [start, start + length) that are the
    model's picture token; others among them, such as the marks between its rows, are embedded like text.
    """

    start: int
    length: int
    digest: bytes
    """16 bytes over pixels and size: equal digests mean equal features."""
    pixels: bytes
    """(height, width, 3), 8 bits, RGB, rows from the top, already of the size that the model's vision part asks for."""
    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A request in ids: all that an engine needs to know of it."""

    id: str
    token_ids: tuple[int, ...]
    sampling: SamplingParams
    max_tokens: int
    """0 only with `prompt_logprobs`: the prompt is scored and nothing is answered."""
    stop_token_ids: tuple[int, ...] = ()
    grammar: Grammar | None = None
    reasoning_limit: ReasoningLimit | None = None
    prompt_logprobs: int | None = None
    priority: Priority = "normal"
    caller: str = ""
    """The `account` of the request: rows of different callers share the engine evenly."""
    answered_ids: tuple[int, ...] = ()
    """The first tokens of the answer, where an engine that has ended made them: the row goes on behind them as if it had made them itself.
    They count into `max_tokens` and are not handed out again."""
    adapter: str | None = None
    """Folder of the LoRA adapter to answer with; None: the model as it is. The engine loads it on first use."""
    pictures: tuple[PromptPicture, ...] = ()
    """In the order of their places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprobs:
    """Log-probabilities (natural, of the model's own distribution before penalties and temperature) at one position."""

    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    """(token id, log-probability), most likely first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStep:
    """What one engine step made for one prompt. `finish_reason` is set on the last one, which may carry no token."""

    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprobs, ...] = ()
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0
    """Prompt tokens that the prefix cache spared."""
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()
    """One for each prompt token but the first, on the first step, where they were asked for."""
    drafted_tokens: int = 0
    """Tokens that were guessed ahead for this step."""
    accepted_tokens: int = 0
    """Those among them that were right."""
    times: RowTimes | None = field(default=None, compare=False)
    """Where the row's time went: with its first token, now and then, and on its last step."""
    failure: PomonaError | None = None
    """Why the row was lost, in place of a finish reason. Only within the engine's process: readers of streams get it raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one request."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    """Thoughts and calls included."""
    reasoning_tokens: int = 0
    picture_tokens: int = 0
    """Prompt tokens that stand for pictures."""
    drafted_tokens: int = 0
    """Tokens that were guessed ahead by speculation."""
    accepted_tokens: int = 0
    """Guesses that were right."""

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenText:
    """One token as text and bytes, with its log-probability and the most likely alternatives."""

    token_id: int
    text: str
    bytes: bytes
    logprob: float
    top: "tuple[TokenText, ...]" = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """First event of every stream, sent as soon as the prompt is known and before any prefill."""

    prompt_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptScored:
    """The prompt's own log-probabilities, before any text. Nothing precedes the `first` token, so it has none."""

    first: str
    rest: tuple[TokenText, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningDelta:
    """More of the model's thought. Marks such as `<think>` are no part of it."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallStarted:
    """The model began a call. Calls are numbered from 0 and never overlap."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallDelta:
    """More of a call's arguments: JSON text, whatever the model's own way of writing calls is."""

    index: int
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallFinished:
    """A call is complete: the deltas joined are one JSON object. Missing where the answer was cut within the call."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """More of the answer. `text` may be empty when only log-probabilities are due."""

    text: str
    logprobs: tuple[TokenText, ...] = ()


CacheMiss = Literal["none", "first_request", "model_changed", "system_changed", "tools_changed", "messages_changed", "evicted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheReport:
    """Why part of a prompt had to be computed, against the most similar of the last prompts of the same session.

    `shared_tokens` is the beginning that both prompts have in common; `missed_tokens` would have come from the cache had nothing changed.
    """

    reason: CacheMiss
    shared_tokens: int = 0
    missed_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Last event of every stream that did not fail."""

    reason: FinishReason
    usage: Usage
    stop_sequence: str | None = None
    """The stop string that ended the text, if one did."""
    warnings: tuple[str, ...] = ()
    """What a person should know, such as a call that could not be read and came back as text."""
    cache: CacheReport | None = None


Delta = TextDelta | ReasoningDelta | ToolCallStarted | ToolCallDelta | ToolCallFinished
GenerateEvent = Started | PromptScored | Delta | Finished
