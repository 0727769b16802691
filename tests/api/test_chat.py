"""Chat completions as the official client sees them."""

import asyncio

import pytest
from openai.types.chat import ChatCompletionMessageParam

from pomona.core.generation import Finished, GenerateRequest, ReasoningOptions, SamplingParams, Started, TextDelta, TokenText, Usage
from pomona.core.messages import Message, TextPart, ToolCall, ToolDefinition
from pomona.core.status import ModelCard
from tests.api.gateway import MODEL, Gateway
from tests.doubles import Script, answer

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello?"}]
USER = Message(role="user", content=(TextPart(text="Hello?"),))
STRANGER = "address 127.0.0.1"
"""The account of who comes without a key."""


def say_seed(request: GenerateRequest) -> Script:
    """An answer that depends on the seed alone."""
    return answer(f"seed {request.sampling.seed}", ".", prompt_tokens=5, cached_tokens=4)


def test_a_whole_answer(gateway: Gateway) -> None:
    gateway.generator.script = answer("Hel", "lo", prompt_tokens=9, cached_tokens=8, reason="length")
    found = gateway.openai().chat.completions.create(model=MODEL, messages=HELLO)
    assert found.id.startswith("chatcmpl-")
    assert found.object == "chat.completion"
    assert found.model == MODEL
    assert found.system_fingerprint == "pomona-0.1.0"
    assert found.choices[0].message.role == "assistant"
    assert found.choices[0].message.content == "Hello"
    assert found.choices[0].finish_reason == "length"
    assert found.choices[0].logprobs is None
    assert found.usage is not None
    assert found.usage.prompt_tokens == 9
    assert found.usage.completion_tokens == 2
    assert found.usage.total_tokens == 11
    assert found.usage.prompt_tokens_details is not None
    assert found.usage.prompt_tokens_details.cached_tokens == 8


def test_a_stream_gives_the_same_as_a_whole_answer(gateway: Gateway) -> None:
    gateway.generator.script = answer("Grüße", " an", " alle", " 🍎", '\n"quoted"\\\x07 \u2028', prompt_tokens=4)
    client = gateway.openai()
    whole = client.chat.completions.create(model=MODEL, messages=HELLO)
    stream = client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[0].finish_reason
    assert len({chunk.id for chunk in chunks}) == 1


async def test_the_asynchronous_client_streams(gateway: Gateway) -> None:
    async with gateway.async_openai() as client:
        stream = await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
        texts = [chunk.choices[0].delta.content async for chunk in stream]
    assert texts == ["", "Hello", " world", None]


async def test_many_streams_at_once_do_not_mix(gateway: Gateway) -> None:
    gateway.generator.choose = say_seed

    async def ask(seed: int) -> str | None:
        stream = await client.chat.completions.create(model=MODEL, messages=HELLO, seed=seed, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async with gateway.async_openai() as client:
        texts = await asyncio.gather(*(ask(seed) for seed in range(40)))
    assert texts == [f"seed {seed}." for seed in range(40)]


def test_the_clients_own_accumulator_understands_the_stream(gateway: Gateway) -> None:
    with gateway.openai().chat.completions.stream(model=MODEL, messages=HELLO) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "Hello world"


def test_several_choices_are_seeded_apart_and_the_prompt_counts_once(gateway: Gateway) -> None:
    gateway.generator.choose = say_seed
    found = gateway.openai().chat.completions.create(model=MODEL, messages=HELLO, n=3, seed=10)
    assert [(choice.index, choice.message.content) for choice in found.choices] == [(0, "seed 10."), (1, "seed 11."), (2, "seed 12.")]
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (5, 6, 11)
    assert len({request.id for request in gateway.generator.seen}) == 3


def test_streamed_choices_are_told_apart_by_their_index(gateway: Gateway) -> None:
    gateway.generator.choose = say_seed
    texts = ["", "", ""]
    ends: list[int] = []
    for chunk in gateway.openai().chat.completions.create(model=MODEL, messages=HELLO, n=3, seed=0, stream=True):
        choice = chunk.choices[0]
        texts[choice.index] += choice.delta.content or ""
        if choice.finish_reason:
            ends.append(choice.index)
    assert texts == ["seed 0.", "seed 1.", "seed 2."]
    assert sorted(ends) == [0, 1, 2]


def test_log_probabilities(gateway: Gateway) -> None:
    top = (
        TokenText(token_id=2, text="Hi", bytes=b"Hi", logprob=-0.5),
        TokenText(token_id=3, text="Ho", bytes=b"Ho", logprob=float("-inf")),
    )
    token = TokenText(token_id=2, text="Hi", bytes=b"Hi", logprob=-0.5, top=top)
    gateway.generator.script = [
        Started(prompt_tokens=1),
        TextDelta(text="", logprobs=(TokenText(token_id=7, text="\ufffd", bytes=b"\xf0\x9f", logprob=-1.0),)),
        TextDelta(text="Hi", logprobs=(token,)),
        Finished(reason="stop", usage=Usage(prompt_tokens=1, completion_tokens=2)),
    ]
    client = gateway.openai()
    whole = client.chat.completions.create(model=MODEL, messages=HELLO, logprobs=True, top_logprobs=2).choices[0].logprobs
    assert whole is not None
    assert whole.content is not None
    assert gateway.generator.seen[0].sampling.logprobs == 2
    assert [(each.token, each.bytes, each.logprob) for each in whole.content] == [("\ufffd", [0xF0, 0x9F], -1.0), ("Hi", [72, 105], -0.5)]
    assert [(each.token, each.logprob) for each in whole.content[1].top_logprobs] == [("Hi", -0.5), ("Ho", -9999.0)]
    stream = client.chat.completions.create(model=MODEL, messages=HELLO, logprobs=True, top_logprobs=2, stream=True)
    logprobs = [chunk.choices[0].logprobs for chunk in stream]
    streamed = [each for found in logprobs if found for each in found.content or ()]
    assert streamed == whole.content


def test_all_sampling_fields_reach_the_generator(gateway: Gateway) -> None:
    gateway.openai().chat.completions.create(
        model="alias",
        messages=HELLO,
        temperature=0.25,
        top_p=0.5,
        presence_penalty=-1.5,
        frequency_penalty=2,
        logit_bias={"17": -100, "3": 5},
        seed=-4,
        max_tokens=5,
        max_completion_tokens=6,
        stop=["\n\n", "END"],
        reasoning_effort="none",
        extra_body={
            "top_k": 40,
            "min_p": 0.1,
            "repetition_penalty": 1.1,
            "ignore_eos": True,
            "chat_template_kwargs": {"style": "brief"},
            "a_field_of_another_server": {"x": [1]},
        },
    )
    seen = gateway.generator.seen[0]
    assert seen == GenerateRequest(
        id=seen.id,
        model="alias",
        messages=(USER,),
        clamp_max_tokens=True,
        account=STRANGER,
        sampling=SamplingParams(
            temperature=0.25,
            top_p=0.5,
            top_k=40,
            min_p=0.1,
            repetition_penalty=1.1,
            presence_penalty=-1.5,
            frequency_penalty=2.0,
            logit_bias={17: -100.0, 3: 5.0},
            seed=-4,
        ),
        max_tokens=6,
        stop=("\n\n", "END"),
        ignore_eos=True,
        template_options={"style": "brief"},
        reasoning=ReasoningOptions(enabled=False, effort="none"),
    )


def test_fields_that_are_absent_or_null_get_the_defaults_of_the_api(gateway: Gateway) -> None:
    names = ("temperature", "top_p", "n", "stop", "max_tokens", "seed", "stream", "logit_bias", "tools", "tool_choice", "top_k", "logprobs")
    plain = {"model": MODEL, "messages": [{"role": "user", "content": "Hello?"}]}
    for body in (plain, plain | dict.fromkeys(names)):
        assert gateway.http().post("/v1/chat/completions", json=body).status_code == 200
    first, second = gateway.generator.seen
    assert first == GenerateRequest(id=first.id, model=MODEL, messages=(USER,), clamp_max_tokens=True, account=STRANGER)
    assert second == GenerateRequest(id=second.id, model=MODEL, messages=(USER,), clamp_max_tokens=True, account=STRANGER)


def test_what_a_request_leaves_open_is_as_the_models_makers_want_it(gateway: Gateway) -> None:
    makers = SamplingParams(temperature=0.6, top_k=20, top_p=0.95, min_p=0.05, repetition_penalty=1.1)
    gateway.directory.cards = [ModelCard(id=MODEL, created=1, owned_by="me", sampling_defaults=makers)]
    client = gateway.openai()
    client.chat.completions.create(model=MODEL, messages=HELLO)
    client.chat.completions.create(model=MODEL, messages=HELLO, temperature=1, top_p=1, extra_body={"top_k": 0})
    opened, closed = (request.sampling for request in gateway.generator.seen)
    assert opened == makers
    assert closed == SamplingParams(temperature=1, top_k=0, top_p=1, min_p=0.05, repetition_penalty=1.1)


def test_a_conversation_with_all_roles_parts_and_tool_calls(gateway: Gateway) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}]},
        {"role": "user", "content": "Weather?", "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "Rome it is.", "refusal": None},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}], "function_call": {"name": "old", "arguments": "{}"}},
        {"role": "function", "name": "old", "content": "done"},
    ]
    tools = [{"type": "function", "function": {"name": "weather", "description": "Now", "parameters": {"type": "object"}, "strict": True}}]
    body = {"model": MODEL, "messages": messages, "tools": tools, "tool_choice": "auto", "parallel_tool_calls": True}
    assert gateway.http().post("/v1/chat/completions", json=body).status_code == 200
    seen = gateway.generator.seen[0]
    assert seen.tools == (ToolDefinition(name="weather", description="Now", parameters={"type": "object"}, strict=True),)
    assert seen.messages == (
        Message(role="developer", content=(TextPart(text="Be brief."),)),
        Message(role="system", content=(TextPart(text="Be "), TextPart(text="kind."))),
        Message(role="user", content=(TextPart(text="Weather?"),), name="ann"),
        Message(
            role="assistant",
            tool_calls=(ToolCall(id="call_1", name="weather", arguments='{"city":"Rome"}'),),
            reasoning="Rome it is.",
        ),
        Message(role="tool", content=(TextPart(text="sunny"),), tool_call_id="call_1"),
        Message(role="assistant", content=(TextPart(text="No."),), tool_calls=(ToolCall(id="call_old", name="old", arguments="{}"),)),
        Message(role="tool", content=(TextPart(text="done"),), name="old"),
    )


def test_with_tool_choice_none_the_model_is_not_told_of_tools(gateway: Gateway) -> None:
    body = {"model": MODEL, "messages": HELLO, "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"}
    assert gateway.http().post("/v1/chat/completions", json=body).status_code == 200
    assert gateway.generator.seen[0].tools == ()


def test_the_last_assistant_message_can_be_continued(gateway: Gateway) -> None:
    messages = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One,"}]
    body = {"model": MODEL, "messages": messages, "continue_final_message": True}
    assert gateway.http().post("/v1/chat/completions", json=body).status_code == 200
    assert gateway.generator.seen[0].continue_last_message


@pytest.mark.parametrize(("given", "taken"), [(-1, 0), (0, 0), (1, 1)])
def test_top_k_of_0_and_minus_1_keep_all(gateway: Gateway, given: int, taken: int) -> None:
    gateway.openai().chat.completions.create(model=MODEL, messages=HELLO, extra_body={"top_k": given})
    assert gateway.generator.seen[0].sampling.top_k == taken


def test_top_p_of_0_keeps_the_most_likely_token(gateway: Gateway) -> None:
    gateway.openai().chat.completions.create(model=MODEL, messages=HELLO, top_p=0)
    assert 0 < gateway.generator.seen[0].sampling.top_p < 1e-3
