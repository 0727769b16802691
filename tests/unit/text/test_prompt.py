from pathlib import Path
from typing import Any

import pytest

from pomona.core.errors import ContextOverflow, InvalidRequest
from pomona.core.generation import GenerateRequest, SamplingParams
from pomona.core.messages import Message, TextPart
from pomona.text.prompt import PromptBuilder
from pomona.text.templates import ChatTemplate, load_chat_template
from tests.unit.text.samples import STORIES, TINY, tokenizer


def _builder(folder: Path = TINY, max_context: int = 256) -> PromptBuilder:
    by = tokenizer(folder)
    return PromptBuilder(by, load_chat_template(folder, variables=by.template_variables), max_context=max_context)


def _request(**fields: Any) -> GenerateRequest:
    return GenerateRequest(id="one", model="tiny", **fields)


def _user(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=(TextPart(text=text),)),)


def test_messages_are_rendered_and_tokenised_with_the_template_s_special_tokens() -> None:
    prompt = _builder().build(_request(messages=_user("Hello")))
    assert tokenizer(TINY).decode(prompt.token_ids, skip_special_tokens=False) == (
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )
    assert prompt.token_ids[0] == 8184
    assert prompt.max_tokens == 256 - len(prompt.token_ids)
    assert prompt.stop_token_ids == (8183, 8185)
    assert prompt.id == "one"


def test_text_gets_the_beginning_of_text_token_once() -> None:
    builder = _builder(STORIES)
    assert builder.build(_request(text="Once")).token_ids[0] == 1
    assert builder.build(_request(text="<s>Once")).token_ids == builder.build(_request(text="Once")).token_ids


def test_a_template_that_writes_the_beginning_of_text_is_not_doubled() -> None:
    by = tokenizer(STORIES)
    with_bos = ChatTemplate({"default": "{{ bos_token }}{{ messages[0].content }}"}, variables=by.template_variables)
    without = ChatTemplate({"default": "{{ messages[0].content }}"}, variables=by.template_variables)
    prompts = [PromptBuilder(by, template, max_context=64).build(_request(messages=_user("Once"))) for template in (with_bos, without)]
    for prompt in prompts:
        assert prompt.token_ids.count(1) == 1
        assert prompt.token_ids[0] == 1


def test_ids_are_taken_as_they_are() -> None:
    assert _builder(STORIES).build(_request(token_ids=(5, 6, 511))).token_ids == (5, 6, 511)


def test_the_last_message_is_continued() -> None:
    messages = (*_user("Hello"), Message(role="assistant", content=(TextPart(text="Well, I"),)))
    prompt = _builder().build(_request(messages=messages, continue_last_message=True))
    assert tokenizer(TINY).decode(prompt.token_ids, skip_special_tokens=False).endswith("<|im_start|>assistant\nWell, I")


def test_answers_end_with_the_model_s_tokens_unless_they_are_ignored() -> None:
    builder = _builder()
    assert builder.build(_request(text="a", ignore_eos=True)).stop_token_ids == ()
    assert builder.build(_request(text="a", ignore_eos=True, stop=("x", "<|im_start|>"))).stop_token_ids == (8184,)


def test_sampling_and_a_given_length_go_through() -> None:
    sampling = SamplingParams(temperature=0.5, logit_bias={8191: -1.0})
    prompt = _builder().build(_request(text="a", max_tokens=7, sampling=sampling))
    assert (prompt.sampling, prompt.max_tokens) == (sampling, 7)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"token_ids": (1, 8192)}, r"token id 8192; this model's ids go from 0 to 8191"),
        ({"token_ids": (-1,)}, "token id -1"),
        ({"text": "a", "sampling": SamplingParams(logit_bias={9000: 1.0})}, "logit_bias holds the token id 9000"),
        ({"text": ""}, "prompt is empty"),
        ({"token_ids": ()}, "prompt is empty"),
        ({}, "exactly one of messages, text and token_ids; it has none"),
        ({"text": "a", "token_ids": (1,)}, "it has text, token_ids"),
        ({"text": "a", "stop": ("x", "")}, "stop holds an empty string"),
        ({"text": "a", "max_tokens": 0}, "max_tokens is 0"),
        ({"messages": ()}, "`messages` is empty"),
    ],
)
def test_what_cannot_be_served_is_explained(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        _builder().build(_request(**fields))


def test_a_model_without_template_says_what_to_use_instead() -> None:
    with pytest.raises(InvalidRequest, match=r"'tiny' has no chat template.*/v1/completions.*models\.chat_template"):
        _builder(STORIES).build(_request(messages=_user("Hello")))


def test_an_empty_prompt_begins_with_the_beginning_of_text() -> None:
    assert _builder(STORIES).build(_request(token_ids=())).token_ids == (1,)
    assert _builder(STORIES).build(_request(text="")).token_ids == (1,)


def test_the_context_is_used_to_the_last_token_and_no_further() -> None:
    builder = _builder(max_context=10)
    assert builder.build(_request(token_ids=(1,) * 9)).max_tokens == 1
    assert builder.build(_request(token_ids=(1,) * 4, max_tokens=6)).max_tokens == 6
    with pytest.raises(ContextOverflow, match=r"10 tokens; the model's context is 10 tokens"):
        builder.build(_request(token_ids=(1,) * 10))
    with pytest.raises(ContextOverflow, match=r"4 tokens and max_tokens asks for 7 more.*at most 6"):
        builder.build(_request(token_ids=(1,) * 4, max_tokens=7))


@pytest.mark.parametrize("fields", [{"text": "word " * 10**7}, {"messages": _user("word " * 10**7)}], ids=["text", "messages"])
def test_a_gigantic_prompt_is_refused_after_reading_its_beginning(fields: dict[str, Any]) -> None:
    reads: list[int] = []
    by = tokenizer(TINY)

    class Counting:
        """The vocabulary of the bundled model, which counts the characters that it is given."""

        def __getattr__(self, name: str) -> Any:
            return getattr(by, name)

        def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
            reads.append(len(text))
            return by.encode(text, add_special_tokens=add_special_tokens)

    builder = PromptBuilder(Counting(), load_chat_template(TINY, variables={}), max_context=4096)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ContextOverflow, match=r"50,000,\d\d\d characters and far more than"):
        builder.build(_request(**fields))
    assert sum(reads) < 100_000


def test_a_long_text_of_few_tokens_is_not_refused() -> None:
    """The guard counts tokens, it does not guess."""
    by = tokenizer(TINY)
    text = max((by.token_text(token_id) for token_id in range(8183)), key=len) * 5000
    needed = len(by.encode(text, add_special_tokens=False))
    assert needed < len(text) / 8
    assert len(_builder(max_context=needed + 1).build(_request(text=text)).token_ids) == needed
