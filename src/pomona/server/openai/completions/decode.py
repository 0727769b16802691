"""From a checked completion body to the requests behind it. A field that cannot be honoured is refused, never dropped."""

from dataclasses import replace

from pomona.core.errors import InvalidRequest
from pomona.core.generation import GenerateRequest
from pomona.core.status import ModelCard
from pomona.server.openai.call import Call, call_of, sampling_of, stops_of
from pomona.server.openai.formats import output_format
from pomona.server.openai.wire import CompletionRequest

DEFAULT_TOKENS = 16


def decode_completion(body: CompletionRequest, call_id: str, card: ModelCard) -> Call:
    """The call that a completion body asks for; the defaults on `card` hold for what it leaves open.

    Its echoes are missing: `decode_echoes` needs a tokenizer for them. Raises InvalidRequest and UnsupportedField.
    """
    _check(body)
    candidates = body.best_of or body.n or 1
    choosing = candidates > (body.n or 1)
    scores = 0 if choosing and body.logprobs is None else body.logprobs
    request = GenerateRequest(
        id=call_id,
        model=card.id,
        text="",
        sampling=sampling_of(body, scores, card.sampling_defaults),
        max_tokens=DEFAULT_TOKENS if body.max_tokens is None else body.max_tokens,
        clamp_max_tokens=True,
        stop=stops_of(body),
        ignore_eos=bool(body.ignore_eos),
        output_format=output_format(body),
        suffix=body.suffix or None,
        prompt_logprobs=_prompt_scores(body),
    )
    requests = tuple(
        replace(request, text=prompt) if isinstance(prompt, str) else replace(request, text=None, token_ids=tuple(prompt))
        for prompt in prompts_of(body)
    )
    call = call_of(body, call_id, requests, copies=candidates, logprobs=body.logprobs is not None)
    return replace(call, kept=body.n or 1)


def prompts_of(body: CompletionRequest) -> list[str | list[int]]:
    """The prompts, in whichever of the four forms they came."""
    if isinstance(body.prompt, str):
        return [body.prompt]
    ids = [token for token in body.prompt if isinstance(token, int)]
    return [ids] if ids else [prompt for prompt in body.prompt if not isinstance(prompt, int)]


def _prompt_scores(body: CompletionRequest) -> int | None:
    """Prompts are scored where they are repeated with log-probabilities, or where nothing else is to be done."""
    if not body.echo or (body.logprobs is None and body.max_tokens != 0):
        return None
    return body.logprobs or 0


def _check(body: CompletionRequest) -> None:
    candidates, kept = body.best_of or body.n or 1, body.n or 1
    if candidates < kept:
        raise InvalidRequest(f"best_of = {candidates} is less than n = {kept}; the best n of so many answers are given.", param="best_of")
    if candidates > kept and body.stream:
        raise InvalidRequest(
            f"best_of = {candidates} with n = {kept} cannot be streamed: the best answer is known at the end. Leave stream or best_of out.",
            param="best_of",
        )
    if body.max_tokens == 0 and not body.echo:
        raise InvalidRequest("max_tokens = 0 gives an empty answer; it is allowed where echo is true.", param="max_tokens")
    if body.suffix and any(not isinstance(prompt, str) for prompt in prompts_of(body)):
        raise InvalidRequest("suffix needs a prompt of text; this one is of token ids.", param="suffix")
