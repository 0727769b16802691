"""Which prompts an engine takes."""

from collections.abc import Container
from dataclasses import dataclass

from pomona.core.errors import ContextOverflow, InvalidRequest, UnsupportedField
from pomona.core.generation import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a model can take: ids below `vocabulary`, `context` tokens, and grammars where its tokenizer is known."""

    vocabulary: int
    context: int
    grammars: bool


def check(prompt: Prompt, bounds: Bounds, ids_in_use: Container[str]) -> None:
    """Raises InvalidRequest, ContextOverflow or UnsupportedField."""
    if not prompt.token_ids:
        raise InvalidRequest("The prompt is empty. Give at least one token.")
    if prompt.id in ids_in_use:
        raise InvalidRequest(f"A request with the id {prompt.id!r} is running already. Choose another id.")
    _check_length(prompt, bounds)
    wrong = next((token for token in _ids(prompt) if not 0 <= token < bounds.vocabulary), None)
    if wrong is not None:
        raise InvalidRequest(f"Token id {wrong!r} is not in the vocabulary: allowed are 0 to {bounds.vocabulary - 1}.")
    if prompt.grammar is not None and not bounds.grammars:
        raise UnsupportedField("This engine has no tokenizer, so it cannot follow a grammar. Leave the grammar out.")


def _check_length(prompt: Prompt, bounds: Bounds) -> None:
    length, least = len(prompt.token_ids), 1 if prompt.prompt_logprobs is None else 0
    if prompt.max_tokens < least:
        raise InvalidRequest(f"max_tokens={prompt.max_tokens!r} is too small: allowed is {least} or more (0 only with prompt_logprobs).")
    if length + prompt.max_tokens > bounds.context:
        raise ContextOverflow(
            f"{length} prompt tokens and max_tokens={prompt.max_tokens} exceed the context of {bounds.context} tokens. "
            "Shorten the prompt or lower max_tokens."
        )


def _ids(prompt: Prompt) -> tuple[int, ...]:
    """All that are looked up in the logits."""
    forced = prompt.reasoning_limit.forced_ids if prompt.reasoning_limit else ()
    return (*prompt.token_ids, *prompt.answered_ids, *prompt.sampling.logit_bias, *prompt.sampling.logprob_token_ids, *forced)
