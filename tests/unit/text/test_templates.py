"""All chat templates under tests/data/chat_templates against Hugging Face transformers, byte for byte."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import pytest
from transformers.utils.chat_template_utils import render_jinja_template  # pyright: ignore[reportUnknownVariableType]

from pomona.core.errors import ConfigurationError, InvalidRequest, ModelUnusable, UnsupportedField
from pomona.core.messages import Message, Role, TextPart, ToolCall, ToolDefinition
from pomona.text.templates import ChatTemplate, Conversation, load_chat_template
from tests.unit.text.samples import DATA, STORIES, TINY

FOLDER = DATA / "chat_templates"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jinja"))
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def _message(role: Role, text: str, *calls: ToolCall) -> Message:
    result_of = CALL.id if role == "tool" else None
    return Message(role=role, content=(TextPart(text=text),) if text else (), tool_calls=calls, tool_call_id=result_of)


CALL = ToolCall(id="abcdef123", name="add", arguments='{"left": 2, "right": 3}')
TOOL = ToolDefinition(
    name="add",
    description="Add two numbers.",
    parameters={"type": "object", "properties": {"left": {"type": "integer", "description": "One of them."}}, "required": ["left"]},
)
USER = (_message("user", "What is 2+3?"),)
CHAT = (_message("system", "Be brief. "), *USER, _message("assistant", "It is 5."), _message("user", "And <3+3> é?"))
CALLS = (*USER, _message("assistant", "", CALL), _message("tool", "five"))
LONG = (_message("system", "Be brief."), *CALLS, _message("assistant", "It is 5."), _message("user", "Thanks."))


@dataclass(frozen=True)
class Wish:
    """What a template wants other than the usual: no content and an object as arguments in messages that call tools."""

    content: str | None = None
    arguments_as_text: bool = False
    tools: list[object] | None = None


EMPTY_CONTENT = (
    "Bielik-11B-v3.0-Instruct",
    "CohereForAI-c4ai-command-r-plus-tool_use",
    "GLM-4.6",
    "GLM-4.7-Flash",
    "MiniMax-M2",
    "Qwen-QwQ-32B",
    "Qwen-Qwen3-0.6B",
    "mistralai-Ministral-3-14B-Reasoning-2512",
    "openai-gpt-oss-120b",
    "unsloth-mistral-Devstral-Small-2507",
)
TEXT_ARGUMENTS = ("deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "meetkai-functionary-medium-v3.2")
TOOLS_ONLY = (
    "CohereForAI-c4ai-command-r-plus-tool_use",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use",
)
# The sandbox of transformers refuses lists that a template changes, and JSON of what `map` gives.
ONLY_OURS = ("Kimi-K2-Instruct", "Kimi-K2-Thinking", "llama-cpp-deepseek-r1")
PLAIN = ("plain-chatml", "plain-gemma-3", "plain-llama-2", "plain-phi-4-mini", "plain-zephyr")
NO_TOOLS = (
    "HuggingFaceTB-SmolLM3-3B",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
    "deepseek-ai-DeepSeek-V3.1",
    "llama-cpp-rwkv-world",
    "microsoft-Phi-3.5-mini-instruct",
    *PLAIN,
)
NO_CALLS = (
    "HuggingFaceTB-SmolLM3-3B",
    "LFM2-8B-A1B",
    "LFM2.5-Instruct",
    "ibm-granite-granite-3.3-2B-Instruct",
    "llama-cpp-rwkv-world",
    "microsoft-Phi-3.5-mini-instruct",
    *PLAIN,
)
NO_SYSTEM = ("google-gemma-2-2b-it",)
"""Their templates refuse system messages, which become text of the first user's turn."""


@cache
def _template(name: str) -> ChatTemplate:
    return ChatTemplate({"default": (FOLDER / f"{name}.jinja").read_text()}, variables=TOKENS)


def _ours(name: str, messages: Sequence[Message], tools: Sequence[ToolDefinition] = (), **options: object) -> str:
    return _template(name).render(Conversation(messages=messages, tools=tools, options=options))


def _theirs(name: str, messages: Sequence[Message], tools: Sequence[ToolDefinition] = (), **options: object) -> str:
    """What transformers makes of messages written by hand as the template's author meant them."""
    wish = Wish(
        content="" if name in EMPTY_CONTENT else None,
        arguments_as_text=name in TEXT_ARGUMENTS,
        tools=[] if name in TOOLS_ONLY else None,
    )
    render = cast("Callable[..., tuple[list[str], object]]", render_jinja_template)
    rendered, _ = render(
        [[_by_hand(message, wish) for message in messages]],
        tools=[{"type": "function", "function": _definition(tool)} for tool in tools] or wish.tools,
        chat_template=(FOLDER / f"{name}.jinja").read_text(),
        add_generation_prompt=True,
        **TOKENS,
        **options,
    )
    return rendered[0]


def _definition(tool: ToolDefinition) -> dict[str, object]:
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters}


def _by_hand(message: Message, wish: Wish) -> dict[str, object]:
    if message.role == "tool":
        return {"role": "tool", "content": message.text, "name": "add", "tool_call_id": "abcdef123"}
    if not message.tool_calls:
        return {"role": message.role, "content": message.text}
    arguments = CALL.arguments if wish.arguments_as_text else json.loads(CALL.arguments)
    call = {"id": "abcdef123", "type": "function", "function": {"name": "add", "arguments": arguments}}
    return {"role": "assistant", "content": wish.content, "tool_calls": [call]}


def test_there_are_templates_of_many_families() -> None:
    assert len(NAMES) == 60


@pytest.mark.parametrize("name", [name for name in NAMES if "firefunction" not in name])
def test_a_user_message_renders_as_in_transformers(name: str) -> None:
    rendered = _ours(name, USER)
    assert rendered == _theirs(name, USER)
    assert "What is 2+3?" in rendered


@pytest.mark.parametrize("name", [name for name in NAMES if "firefunction" not in name and name not in NO_SYSTEM])
def test_a_chat_renders_as_in_transformers(name: str) -> None:
    rendered = _ours(name, CHAT)
    assert rendered == _theirs(name, CHAT)
    for text in ("Be brief.", "What is 2+3?", "It is 5.", "And <3+3> é?"):
        assert text in rendered


@pytest.mark.parametrize("messages", [CALLS, LONG], ids=["result", "further"])
@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in {*NO_TOOLS, *NO_CALLS, *NO_SYSTEM, *ONLY_OURS} and "fire" not in name]
)
def test_tools_calls_and_results_render_as_in_transformers(name: str, messages: Sequence[Message]) -> None:
    rendered = _ours(name, messages, [TOOL])
    assert rendered == _theirs(name, messages, [TOOL])
    for text in ("Add two numbers.", "left", "five"):
        assert text in rendered


@pytest.mark.parametrize("name", ONLY_OURS)
def test_tools_render_where_transformers_gives_up(name: str) -> None:
    rendered = _ours(name, LONG, [TOOL])
    for text in ("Add two numbers.", '"left": 2', "five", "Thanks."):
        assert text in rendered


@pytest.mark.parametrize("name", [name for name in NO_TOOLS if name not in NO_CALLS])
def test_calls_render_where_there_is_no_place_for_tools(name: str) -> None:
    assert _ours(name, LONG) == _theirs(name, LONG)


def test_firefunction_gets_the_tools_as_text_and_the_time() -> None:
    name = "fireworks-ai-llama-3-firefunction-v2"
    tools = json.dumps([{"type": "function", "function": _definition(TOOL)}], indent=2)
    given = {"datetime": "Nov 21 2026 10:00:00 GMT"}
    for messages in (USER, CHAT, LONG):
        assert _ours(name, messages, [TOOL], **given) == _theirs(name, messages, [TOOL], functions=tools, **given)
    assert "Today is" in _ours(name, USER)


@pytest.mark.parametrize("name", NO_TOOLS)
def test_tools_without_a_place_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedField, match="no place for tools"):
        _ours(name, USER, [TOOL])


@pytest.mark.parametrize("name", NO_CALLS)
def test_calls_without_a_place_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedField, match="no place for"):
        _ours(name, CALLS)


@pytest.mark.parametrize("name", ["llama-cpp-rwkv-world", "microsoft-Phi-3.5-mini-instruct", *NO_SYSTEM])
def test_results_without_a_place_are_text_of_a_user_s_turn(name: str) -> None:
    shown = _message("user", "What is 2+3?\n\n<tool_response>\nfive\n</tool_response>")
    apart = (_message("assistant", "Well."), _message("user", "<tool_response>\nfive\n</tool_response>"))
    assert _ours(name, (*USER, apart[0], _message("tool", "five"))) == _theirs(name, (*USER, *apart))
    if name in NO_SYSTEM:
        assert _ours(name, (*USER, _message("tool", "five"))) == _theirs(name, (shown,))


@pytest.mark.parametrize("name", NO_SYSTEM)
def test_a_system_message_without_a_place_begins_the_first_turn(name: str) -> None:
    assert _ours(name, CHAT) == _theirs(name, (_message("user", f"Be brief. \n\n{USER[0].text}"), *CHAT[2:]))


def test_what_a_template_refuses_reaches_the_caller_in_its_own_words() -> None:
    with pytest.raises(InvalidRequest, match="must alternate"):
        _ours("google-gemma-2-2b-it", CHAT[2:])


def test_call_ids_are_shortened_for_templates_that_count_their_letters() -> None:
    call = ToolCall(id="call_5f2a", name="add", arguments="{}")
    result = Message(role="tool", content=(TextPart(text="five"),), tool_call_id="call_5f2a")
    rendered = _ours("mistralai-Mistral-Nemo-Instruct-2407", (*USER, _message("assistant", "", call), result), [TOOL])
    assert "five" in rendered
    assert "call_5f2a" not in rendered


def test_text_beside_calls_goes_where_the_calls_would_be_lost() -> None:
    messages = (*USER, _message("assistant", "Let me see.", CALL), _message("tool", "five"))
    assert '"left": 2' in _ours("llama-cpp-deepseek-r1", messages, [TOOL])
    assert "Let me see." in _ours("Qwen-Qwen2.5-7B-Instruct", messages, [TOOL])


def test_arguments_that_are_no_json_still_render() -> None:
    broken = ToolCall(id="abcdef123", name="add", arguments='{"left": ')
    assert '{\\"left\\": ' in _ours("Qwen-Qwen2.5-7B-Instruct", (*USER, _message("assistant", "", broken)), [TOOL])


def test_developer_messages_are_system_messages_unless_the_template_knows_better() -> None:
    messages = (_message("developer", "Be brief."), *USER)
    system = (_message("system", "Be brief."), *USER)
    assert _ours("Qwen-Qwen2.5-7B-Instruct", messages) == _ours("Qwen-Qwen2.5-7B-Instruct", system)
    assert "<|start|>developer<|message|>" in _ours("openai-gpt-oss-120b", messages)


def test_a_template_that_walks_through_parts_gets_parts() -> None:
    source = "{% for m in messages %}{{ m.role }}:{% for part in m.content %}{{ part.text }}|{% endfor %}{% endfor %}"
    parts = Message(role="user", content=(TextPart(text="one"), TextPart(text="two")))
    assert ChatTemplate({"default": source}, variables={}).render(Conversation(messages=[parts], options={})) == "user:one|two|"
    assert "onetwo" in _template("Qwen-Qwen2.5-7B-Instruct").render(Conversation(messages=[parts], options={}))


def test_options_reach_the_template_but_cannot_replace_the_conversation() -> None:
    assert _ours("Qwen-Qwen3-0.6B", USER, enable_thinking=False).endswith("<think>\n\n</think>\n\n")
    with pytest.raises(InvalidRequest, match="'messages'"):
        _template("Qwen-Qwen3-0.6B").render(Conversation(messages=USER, options={"messages": []}))


def test_tool_use_is_chosen_only_for_requests_with_tools() -> None:
    named = ChatTemplate({"default": "plain", "tool_use": "{{ tools[0].function.name }}"}, variables={})
    assert named.render(Conversation(messages=USER, options={})) == "plain"
    assert named.render(Conversation(messages=USER, tools=[TOOL], options={})) == "add"


@pytest.mark.parametrize("name", ["Qwen-Qwen2.5-7B-Instruct", "meta-llama-Llama-3.1-8B-Instruct", "microsoft-Phi-3.5-mini-instruct"])
def test_the_last_message_stays_open_to_be_continued(name: str) -> None:
    messages = (*USER, _message("assistant", "It is"))
    opened = _template(name).render(Conversation(messages=messages, options={}, continue_last_message=True))
    assert opened.endswith("It is")
    closed = ChatTemplate({"default": (FOLDER / f"{name}.jinja").read_text()}, variables=TOKENS).render(
        Conversation(messages=messages, options={})
    )
    assert closed.startswith(opened)


@pytest.mark.parametrize("messages", [USER, CALLS[:2], (*USER, _message("assistant", ""))], ids=["user", "calls", "empty"])
def test_only_an_answer_in_words_can_be_continued(messages: Sequence[Message]) -> None:
    with pytest.raises(InvalidRequest, match="assistant message with text"):
        _template("Qwen-Qwen2.5-7B-Instruct").render(Conversation(messages=messages, options={}, continue_last_message=True))


def test_no_messages_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="`messages` is empty"):
        _ours("Qwen-Qwen2.5-7B-Instruct", ())


def _files(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_json", ".json").replace("_jinja", ".jinja")
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return folder


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"chat_template_jinja": "file", "tokenizer_config_json": '{"chat_template": "config"}'}, "file"),
        ({"chat_template_json": '{"chat_template": "json"}', "tokenizer_config_json": '{"chat_template": "config"}'}, "json"),
        ({"tokenizer_config_json": '{"chat_template": "{{ bos_token }}config"}'}, "<s>config"),
        ({"tokenizer_config_json": '{"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]}'}, "d"),
        ({"chat_template_jinja": "file", "additional_chat_templates__tool_use_jinja": "tools"}, "file"),
    ],
)
def test_templates_are_found_where_models_keep_them(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    template = load_chat_template(_files(tmp_path, **files), variables=TOKENS)
    assert template is not None
    assert template.render(Conversation(messages=USER, options={})) == expected


def test_the_bundled_model_has_a_template_and_stories_have_none(tmp_path: Path) -> None:
    bundled = load_chat_template(TINY, variables={})
    assert bundled is not None
    assert bundled.render(Conversation(messages=USER, options={})) == "<|im_start|>user\nWhat is 2+3?<|im_end|>\n<|im_start|>assistant\n"
    assert load_chat_template(STORIES, variables={}) is None
    mine = tmp_path / "mine.jinja"
    mine.write_text("mine")
    given = load_chat_template(STORIES, variables={}, override=mine)
    assert given is not None
    assert given.render(Conversation(messages=USER, options={})) == "mine"


def test_broken_templates_name_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("fine\n{% if %}")
    with pytest.raises(ModelUnusable, match=r"chat_template\.jinja.*line 2"):
        load_chat_template(tmp_path, variables={})
    with pytest.raises(ConfigurationError, match=r"models\.chat_template.*line 2"):
        load_chat_template(STORIES, variables={}, override=tmp_path / "chat_template.jinja")
    with pytest.raises(ConfigurationError, match=r"none\.jinja"):
        load_chat_template(STORIES, variables={}, override=tmp_path / "none.jinja")
