"""Completions as the official client sees them."""

import pytest

from pomona.core.generation import Finished, GenerateEvent, GenerateRequest, PromptScored, Started, TextDelta, TokenText, Usage
from tests.api.gateway import MODEL, Gateway
from tests.doubles import Script, answer


def repeat_prompt(request: GenerateRequest) -> Script:
    """An answer that depends on prompt and seed."""
    prompt = request.text if request.token_ids is None else request.token_ids
    return answer(f"{prompt}", f"/{request.sampling.seed}", prompt_tokens=2, cached_tokens=1)


def test_a_whole_completion(gateway: Gateway) -> None:
    found = gateway.openai().completions.create(model=MODEL, prompt="Once")
    assert found.id.startswith("cmpl-")
    assert found.object == "text_completion"
    assert (found.choices[0].text, found.choices[0].finish_reason) == ("Hello world", "stop")
    assert gateway.generator.seen[0].text == "Once"
    assert gateway.generator.seen[0].max_tokens == 16


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("a", ["a/5", "a/6"]),
        (["a", "b"], ["a/5", "a/6", "b/5", "b/6"]),
        ([1, 2], ["(1, 2)/5", "(1, 2)/6"]),
        ([[1, 2], [3]], ["(1, 2)/5", "(1, 2)/6", "(3,)/5", "(3,)/6"]),
    ],
)
def test_every_form_of_prompt_gets_n_choices_each(gateway: Gateway, prompt: str | list[str], texts: list[str]) -> None:
    gateway.generator.choose = repeat_prompt
    client = gateway.openai()
    whole = client.completions.create(model=MODEL, prompt=prompt, n=2, best_of=2, seed=5)
    assert [choice.text for choice in whole.choices] == texts
    assert [choice.index for choice in whole.choices] == list(range(len(texts)))
    streamed = [""] * len(texts)
    stream = client.completions.create(model=MODEL, prompt=prompt, n=2, seed=5, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    for chunk in chunks:
        for choice in chunk.choices:
            streamed[choice.index] += choice.text
    assert streamed == texts
    assert chunks[-1].usage == whole.usage
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (len(texts), 2 * len(texts))


def test_echo_puts_the_prompt_first(gateway: Gateway) -> None:
    client = gateway.openai()
    assert client.completions.create(model=MODEL, prompt="Say: ", echo=True).choices[0].text == "Say: Hello world"
    chunks = list(client.completions.create(model=MODEL, prompt="Say: ", echo=True, stream=True))
    assert [chunk.choices[0].text for chunk in chunks] == ["Say: ", "Hello", " world", ""]


def test_log_probabilities_with_offsets_into_the_text(gateway: Gateway) -> None:
    apple = "🍎".encode()
    tokens = [
        TokenText(token_id=1, text="ab", bytes=b"ab", logprob=-0.1, top=(TokenText(token_id=4, text="x", bytes=b"x", logprob=-3.0),)),
        TokenText(token_id=2, text="\ufffd", bytes=apple[:2], logprob=-0.2),
        TokenText(token_id=3, text="\ufffd", bytes=apple[2:], logprob=float("-inf")),
        TokenText(token_id=1, text="c", bytes=b"c", logprob=-0.4),
    ]
    gateway.generator.script = [
        Started(prompt_tokens=1),
        TextDelta(text="ab", logprobs=(tokens[0],)),
        TextDelta(text="", logprobs=(tokens[1],)),
        TextDelta(text="🍎c", logprobs=(tokens[2], tokens[3])),
        Finished(reason="stop", usage=Usage(prompt_tokens=1, completion_tokens=4)),
    ]
    client = gateway.openai()
    whole = client.completions.create(model=MODEL, prompt="p", logprobs=1).choices[0].logprobs
    assert whole is not None
    assert whole.tokens == ["ab", "\ufffd", "\ufffd", "c"]
    assert whole.token_logprobs == [-0.1, -0.2, -9999.0, -0.4]
    assert whole.top_logprobs == [{"x": -3.0}, {}, {}, {}]
    assert whole.text_offset == [0, 2, 3, 3]
    chunks = list(client.completions.create(model=MODEL, prompt="p", logprobs=1, stream=True))
    found = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
    assert [offset for each in found for offset in each.text_offset or ()] == whole.text_offset
    assert [token for each in found for token in each.tokens or ()] == whole.tokens


def token(text: str, logprob: float) -> TokenText:
    return TokenText(token_id=len(text), text=text, bytes=text.encode(), logprob=logprob)


def scored(*rest: TokenText, first: str = "Say", text: str = "Hi") -> list[GenerateEvent]:
    """An answer of one token to a prompt that is scored too."""
    end = Finished(reason="length", usage=Usage(prompt_tokens=1 + len(rest), completion_tokens=1))
    return [
        Started(prompt_tokens=1 + len(rest)),
        PromptScored(first=first, rest=rest),
        TextDelta(text=text, logprobs=(token(text, -2.0),)),
        end,
    ]


@pytest.mark.parametrize(("first", "offset"), [("Say", 3), ("<s>", 0)])
def test_the_log_probabilities_of_a_repeated_prompt(gateway: Gateway, first: str, offset: int) -> None:
    rest = (token(":", -0.5), token(" ", -0.25)) if first == "Say" else (token("Say", -1.0), token(": ", -0.5))
    gateway.generator.script = scored(*rest, first=first)
    client = gateway.openai()
    choice = client.completions.create(model=MODEL, prompt="Say: ", echo=True, logprobs=0, max_tokens=1).choices[0]
    assert gateway.generator.seen[0].prompt_logprobs == 0
    assert choice.text == "Say: Hi"
    assert choice.logprobs is not None
    assert choice.logprobs.tokens == [first, rest[0].text, rest[1].text, "Hi"]
    assert choice.logprobs.token_logprobs == [None, rest[0].logprob, rest[1].logprob, -2.0]
    assert choice.logprobs.text_offset == [0, offset, offset + len(rest[0].text), 5]
    chunks = list(client.completions.create(model=MODEL, prompt="Say: ", echo=True, logprobs=0, max_tokens=1, stream=True))
    found = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
    assert [each for part in found for each in part.text_offset or ()] == choice.logprobs.text_offset
    assert "".join(chunk.choices[0].text for chunk in chunks) == choice.text


def test_a_prompt_can_be_scored_without_any_answer(gateway: Gateway) -> None:
    end = Finished(reason="length", usage=Usage(prompt_tokens=2))
    gateway.generator.script = [Started(prompt_tokens=2), PromptScored(first="Say", rest=(token(": ", -0.5),)), end]
    found = gateway.openai().completions.create(model=MODEL, prompt="Say: ", echo=True, logprobs=3, max_tokens=0)
    assert (gateway.generator.seen[0].max_tokens, gateway.generator.seen[0].prompt_logprobs) == (0, 3)
    assert (found.choices[0].text, found.choices[0].finish_reason) == ("Say: ", "length")
    assert found.choices[0].logprobs is not None
    assert found.choices[0].logprobs.token_logprobs == [None, -0.5]


def test_echo_without_scores_can_be_all_that_is_wanted(gateway: Gateway) -> None:
    gateway.generator.script = [*scored(token(": ", -0.5))[:2], Finished(reason="length", usage=Usage(prompt_tokens=2))]
    found = gateway.openai().completions.create(model=MODEL, prompt="Say: ", echo=True, max_tokens=0)
    assert (found.choices[0].text, found.choices[0].logprobs) == ("Say: ", None)


def test_prompts_of_ids_are_repeated_as_text(gateway: Gateway) -> None:
    found = gateway.openai().completions.create(model=MODEL, prompt=[[2, 1], [3]], echo=True, n=2)
    assert [choice.text for choice in found.choices] == ["xx xHello world"] * 2 + ["xxxHello world"] * 2


def test_the_best_of_several_candidates_are_given(gateway: Gateway) -> None:
    scores = {"0": (-1.0, -3.0), "1": (-0.5,), "2": (-1.0, -0.2), "3": ()}

    def candidate(request: GenerateRequest) -> Script:
        name = request.id[-1]
        deltas = [TextDelta(text=name, logprobs=(token(name, each),)) for each in scores[name]]
        return [Started(prompt_tokens=2), *deltas, Finished(reason="stop", usage=Usage(prompt_tokens=2, completion_tokens=len(deltas)))]

    gateway.generator.choose = candidate
    found = gateway.openai().completions.create(model=MODEL, prompt="x", n=2, best_of=4)
    assert [(choice.index, choice.text, choice.logprobs) for choice in found.choices] == [(0, "1", None), (1, "22", None)]
    assert {request.sampling.logprobs for request in gateway.generator.seen} == {0}
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (2, 5)


def test_a_gap_before_a_suffix_is_filled(gateway: Gateway) -> None:
    gateway.openai().completions.create(model=MODEL, prompt="def f(", suffix="): pass")
    assert (gateway.generator.seen[0].text, gateway.generator.seen[0].suffix) == ("def f(", "): pass")
