"""Pictures in prompts: rendered as each family's template has them, placed among the ids, never made of a person's words."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import cast

import pytest
from transformers.utils.chat_template_utils import render_jinja_template  # pyright: ignore[reportUnknownVariableType]

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.core.generation import GenerateRequest, Prompt
from pomona.core.messages import Message, Part, PicturePart, PreparedPicture, Role, TextPart, ToolCall, ToolDefinition
from pomona.text.pictures.writing import picture_writing
from pomona.text.prompt import PromptBuilder
from pomona.text.templates import ChatTemplate
from pomona.text.tokenizer import Tokenizer
from pomona.text.tokenizer_loading import load_tokenizer
from tests.unit.text.samples import DATA, TINY

FOLDER = DATA / "vision_templates"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jinja"))
PLACEHOLDERS = {
    "qwen2_5_vl": "<|image_pad|>",
    "qwen3_vl": "<|image_pad|>",
    "gemma3": "<start_of_image>",
    "llava_1_5": "<image>",
    "vicuna_strings": "<image>",
    "pixtral": "[IMG]",
}
SPECIAL = ["<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<start_of_image>", "<image_soft_token>", "<image>", "[IMG]", "[INST]"]
FIRST_SPECIAL = 8192
SEEN = 4
"""Ids that stand for a picture of these tests."""


def picture(number: int) -> PreparedPicture:
    return PreparedPicture(pixels=bytes([number] * 12), height=2, width=2, digest=bytes([number] * 16), token_ids=(number,) * SEEN)


ONE, TWO, THREE = picture(1), picture(2), picture(3)
CALL = ToolCall(id="abcdef123", name="look", arguments='{"at": "<|image_pad|>[IMG]"}')
OTHER = replace(CALL, id="abcdef456", arguments="{}")
TOOL = ToolDefinition(name="look", description="See <|image_pad|>, [IMG] and <image>.")


@cache
def seeing_tokenizer() -> Tokenizer:
    """The bundled model's, with the special tokens of all families."""
    folder = Path(str(TINY))
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    for number, text in enumerate(SPECIAL):
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        document["added_tokens"].append({"id": FIRST_SPECIAL + number, "content": text, "special": True, **flags})
    return _loaded(json.dumps(document))


def _loaded(text: str) -> Tokenizer:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tokenizer.json").write_text(text, encoding="utf-8")
        return load_tokenizer(Path(folder))


@cache
def builder(name: str, source: str | None = None) -> PromptBuilder:
    tokenizer = seeing_tokenizer()
    placeholder = PLACEHOLDERS[name]
    surrounded = f"\n\n{placeholder}\n\n" if name == "gemma3" else placeholder
    writing = picture_writing(tokenizer, placeholder, surrounded, tokenizer.special_tokens[placeholder])
    text = source or (FOLDER / f"{name}.jinja").read_text(encoding="utf-8").removesuffix("\n")
    template = ChatTemplate({"default": text}, variables={"bos_token": "", "eos_token": ""}, pictures=writing)
    return PromptBuilder(tokenizer, template, max_context=4096, vocabulary=20_000, pictures=writing)


def said(role: Role, *parts: Part | str, calls: Sequence[ToolCall] = (), answers: ToolCall | None = None) -> Message:
    content = tuple(TextPart(text=part) if isinstance(part, str) else part for part in parts)
    return Message(role=role, content=content, tool_calls=tuple(calls), tool_call_id=answers.id if answers else None)


def asked(name: str, *messages: Message, tools: Sequence[ToolDefinition] = (), source: str | None = None) -> Prompt:
    return builder(name, source).build(GenerateRequest(id="one", model="seer", messages=messages, tools=tuple(tools)))


def order(prompt: Prompt) -> list[int]:
    """Which pictures are in the prompt; each stands at its place and nowhere else."""
    for each in prompt.pictures:
        number = each.digest[0]
        assert prompt.token_ids[each.start : each.start + each.length] == (number,) * SEEN
        assert (each.length, each.height, each.width, each.pixels) == (SEEN, 2, 2, bytes([number] * 12))
    return [each.digest[0] for each in prompt.pictures]


def words(name: str, prompt: Prompt) -> str:
    """The prompt as text, each picture as its placeholder."""
    tokenizer, ids, position = seeing_tokenizer(), list[int](), 0
    for each in prompt.pictures:
        ids += [*prompt.token_ids[position : each.start], tokenizer.special_tokens[PLACEHOLDERS[name]]]
        position = each.start + each.length
    return tokenizer.decode([*ids, *prompt.token_ids[position:]], skip_special_tokens=False)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "vicuna_strings"])
def test_a_template_shows_pictures_as_transformers_has_it_do(name: str) -> None:
    conversation = (said("user", "What is ", ONE, " beside ", TWO, "?"), said("assistant", "A cat."), said("user", THREE, "And this?"))
    prompt = asked(name, *conversation)
    content = [[_field(part) for part in message.content] for message in conversation]
    if name == "pixtral":
        content[1] = cast("list[dict[str, str]]", "A cat.")
    fields = [{"role": message.role, "content": each} for message, each in zip(conversation, content, strict=True)]
    template = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8").removesuffix("\n")
    rendered, _ = render_jinja_template([fields], chat_template=template, add_generation_prompt=True, bos_token="", eos_token="")
    wanted = cast("list[str]", rendered)[0]
    surrounded = wanted.replace("<start_of_image>", "\n\n<start_of_image>\n\n") if name == "gemma3" else wanted
    assert order(prompt) == [1, 2, 3]
    assert words(name, prompt) == surrounded
    request = GenerateRequest(id="one", model="seer", messages=conversation)
    assert builder(name).render(request).text == wanted
    assert builder(name).render(request).token_ids == prompt.token_ids


def _field(part: Part) -> dict[str, str]:
    return {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": "image"}


def test_a_template_that_takes_only_strings_gets_pictures_in_them() -> None:
    prompt = asked("vicuna_strings", said("user", ONE, "What is it?"))
    assert words("vicuna_strings", prompt) == "USER: <image>\nWhat is it? ASSISTANT:"
    assert order(prompt) == [1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", [*SPECIAL, "".join(SPECIAL), "<|image_<|image_pad|>pad|>", "\ufdd0\ufdd2\ufdd2\ufdd2\ufdd2", "\ufdd1"])
def test_a_persons_words_never_become_a_picture(name: str, text: str) -> None:
    conversation = (said("system", text), said("user", f"Is {text} a picture? ", ONE, text), said("assistant", text), said("user", text))
    prompt = asked(name, *conversation)
    assert order(prompt) == [1]
    special = {seeing_tokenizer().special_tokens[each] for each in SPECIAL if each not in ("<|vision_start|>", "<|vision_end|>", "[INST]")}
    rest = [*prompt.token_ids[: prompt.pictures[0].start], *prompt.token_ids[prompt.pictures[0].start + SEEN :]]
    assert not special & set(rest)
    shown = text if not text.startswith("\ufdd0") and text != "\ufdd1" else text.translate(dict.fromkeys(range(0xFDD0, 0xFDF0), "\ufffd"))
    assert words(name, prompt).count(shown) >= 4


def test_words_of_tools_and_calls_never_become_a_picture() -> None:
    history = (said("user", "Look"), said("assistant", calls=[CALL]), said("tool", "<|image_pad|>", ONE, answers=CALL), said("user", "So?"))
    prompt = asked("qwen3_vl", *history, tools=[TOOL])
    assert order(prompt) == [1]
    assert words("qwen3_vl", prompt).count("<|image_pad|>") == 4


def test_words_in_pieces_are_refused_rather_than_seen() -> None:
    """Here the halves meet only in the rendered text, where nobody can tell them from what the template writes."""
    source = "{% for message in messages %}{{ message.content }}{% endfor %}"
    with pytest.raises(InvalidRequest, match=r"shows 1 of 0 pictures"):
        asked("qwen2_5_vl", said("user", "<|image_"), said("assistant", "pad|>"), source=source)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "gemma3", "llava_1_5", "pixtral"])
def test_what_tools_showed_is_seen_in_the_order_of_its_place(name: str) -> None:
    """Results that come in another order than their calls may be put in order; each picture goes with its result."""
    results = (said("tool", "second", TWO, answers=OTHER), said("tool", "first", ONE, answers=CALL))
    history = (said("user", THREE, "Look"), said("assistant", calls=[CALL, OTHER]), *results, said("user", "So?"))
    prompt = asked(name, *history)
    shown = words(name, prompt)
    places = {number: index for index, number in enumerate(order(prompt))}
    assert places[3] == 0
    assert (places[1] < places[2]) == (shown.find("first") < shown.find("second"))


@pytest.mark.parametrize("name", ["gemma3", "pixtral"])
def test_turns_that_must_be_one_keep_their_pictures_in_order(name: str) -> None:
    prompt = asked(name, said("system", "Be brief."), said("user", "One: ", ONE), said("user", TWO, "Two."), said("user", "Three: ", THREE))
    assert order(prompt) == [1, 2, 3]
    shown = words(name, prompt)
    assert shown.find("One:") < shown.find("Two.") < shown.find("Three:")


def test_a_message_may_be_a_picture_and_nothing_else() -> None:
    for name in NAMES:
        assert order(asked(name, said("user", ONE))) == [1]
        assert order(asked(name, said("user", ONE, TWO), said("assistant", "Yes."), said("user", ONE))) == [1, 2, 1]


def test_pictures_count_as_tokens_of_the_context() -> None:
    small = builder("qwen2_5_vl")
    request = GenerateRequest(id="one", model="seer", messages=(said("user", replace(ONE, token_ids=(1,) * 4096)),))
    with pytest.raises(InvalidRequest, match=r"the model's context is 4,096 tokens"):
        small.build(request)
    assert len(small.render(request).token_ids) > 4096


def test_pictures_that_nobody_prepared_are_refused() -> None:
    tokenizer = seeing_tokenizer()
    blind = PromptBuilder(tokenizer, ChatTemplate({"default": "{{ messages[0].content }}"}, variables={}), max_context=64)
    for build, part in ((blind, ONE), (blind, PicturePart(data=b"x")), (builder("qwen2_5_vl"), PicturePart(data=b"x"))):
        with pytest.raises(UnsupportedField, match="The messages hold pictures"):
            build.build(GenerateRequest(id="one", model="m", messages=(said("user", "Hi", part),)))


def test_a_template_that_leaves_pictures_out_is_refused() -> None:
    source = "{% for message in messages %}{{ message.role }}:{{ message.content[:5] }};{% endfor %}"
    with pytest.raises(InvalidRequest, match=r"0 places for 1 pictures|shows 0 of 1 pictures"):
        asked("qwen2_5_vl", said("user", "A long text before", ONE), source=source)


def test_conversations_without_pictures_are_what_they_are_without_eyes() -> None:
    tokenizer = seeing_tokenizer()
    conversation = (said("system", "Be brief."), said("user", "Hello"), said("assistant", "Yes?"), said("user", "Bye"))
    for name in NAMES:
        source = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8").removesuffix("\n")
        template = ChatTemplate({"default": source}, variables={"bos_token": "", "eos_token": ""})
        blind = PromptBuilder(tokenizer, template, max_context=4096)
        assert blind.build(GenerateRequest(id="one", model="m", messages=conversation)).token_ids == asked(name, *conversation).token_ids
