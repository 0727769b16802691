"""What goes into a model and what comes out of it.

The life of a request in types: `GenerateRequest` (words) -> `Prompt` (ids) -> `TokenStep` (ids, one per engine step)
-> `GenerateEvent` (words again).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pomona.core.messages import Message, ToolDefinition

FinishReason = Literal["stop", "length", "cancelled"]


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
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    template_options: Mapping[str, object] = field(default_factory=dict[str, object])
    """Extra variables for the chat template, such as `enable_thinking`."""
    continue_last_message: bool = False
    """Leave the last assistant message open, so that the model goes on with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A request in ids: all that an engine needs to know of it."""

    id: str
    token_ids: tuple[int, ...]
    sampling: SamplingParams
    max_tokens: int
    stop_token_ids: tuple[int, ...] = ()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one request."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

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
class TextDelta:
    """More of the answer. `text` may be empty when only log-probabilities are due."""

    text: str
    logprobs: tuple[TokenText, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Last event of every stream that did not fail."""

    reason: FinishReason
    usage: Usage
    stop_sequence: str | None = None
    """The stop string that ended the text, if one did."""


GenerateEvent = Started | TextDelta | Finished
