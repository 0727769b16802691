"""A model's chat template: where it is found, and how a conversation is rendered with it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import cast

import jinja2

from pomona.core.errors import ConfigurationError, InvalidRequest, ModelUnusable, UnsupportedField
from pomona.core.messages import Message, ToolDefinition
from pomona.text.conversation import Fields, Style, message_fields, picture_part_marks
from pomona.text.pictures.writing import PictureWriting
from pomona.text.sandbox import FAILURES, LimitReached, Limits, TemplateRefusal, compile_template, free_variables, render
from pomona.text.special_tokens import Json, read_json
from pomona.text.styles import find_style
from pomona.text.tools.teaching import WriteCalls, spelled_out, tool_fields

NO_OPTIONS: Mapping[str, object] = {}
RESERVED = frozenset({"messages", "tools", "add_generation_prompt"})
THINKING: Mapping[str, object] = {"enable_thinking": True, "thinking": True}
END_MARK = "<<pomona: the message goes on here>> "
TEMPLATE_FILE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What a chat template is given."""

    messages: Sequence[Message]
    tools: Sequence[ToolDefinition] = ()
    options: Mapping[str, object]
    continue_last_message: bool = False
    write_calls: WriteCalls | None = None
    """Writes calls as text, for templates that have no place for calls or tools. Without it, such conversations are refused."""


class ChatTemplate:
    """One or more named templates of a model: `default`, and perhaps `tool_use` for requests with tools.

    `variables` are the special tokens that templates write; `now` is the local time of `strftime_now`; `pictures` tells how the model's
    prompts speak of pictures, None for one that takes none. Raises ModelUnusable where a template is no valid Jinja, naming `origin`
    and the line.
    """

    def __init__(
        self,
        sources: Mapping[str, str],
        *,
        variables: Mapping[str, object],
        origin: str = "chat template",
        limits: Limits | None = None,
        now: Callable[[], datetime] = datetime.now,
        pictures: PictureWriting | None = None,
    ) -> None:
        rendering = _Rendering(variables=variables, limits=limits or Limits(), now=now, pictures=pictures)
        self._named = {name: _Template(source, f"{origin} ({name})", rendering) for name, source in sources.items()}

    def render(self, conversation: Conversation) -> str:
        """The prompt as text, with marks where pictures are (`pomona.text.pictures`).

        Raises InvalidRequest, where the template refuses the conversation with the template's own message.
        """
        _check(conversation)
        return self._of(with_tools=bool(conversation.tools)).render(conversation)

    def source(self, *, with_tools: bool) -> str:
        """The Jinja source of the template that requests with or without tools use."""
        return self._of(with_tools=with_tools).source

    def variables(self, *, with_tools: bool) -> frozenset[str]:
        """What that template reads and does not set: the options that it knows."""
        return self._of(with_tools=with_tools).free

    def style(self, *, with_tools: bool) -> Style:
        """How that template wants its messages."""
        return self._of(with_tools=with_tools).style

    def _of(self, *, with_tools: bool) -> "_Template":
        name = "tool_use" if with_tools and "tool_use" in self._named else "default"
        return self._named.get(name) or next(iter(self._named.values()))


def load_chat_template(
    folder: Path, *, variables: Mapping[str, object], override: Path | None = None, pictures: PictureWriting | None = None
) -> ChatTemplate | None:
    """The template in `override` or, without it, of the model in `folder`; None if the model has none.

    Raises ModelUnusable naming the file that cannot be used, ConfigurationError where that is `override`.
    """
    if override is not None:
        return _load_override(override, variables, pictures)
    for path, sources in _sources(folder):
        if sources:
            return ChatTemplate(sources, variables=variables, origin=str(path), pictures=pictures)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rendering:
    """What all renderings of a model share."""

    variables: Mapping[str, object]
    limits: Limits
    now: Callable[[], datetime]
    pictures: PictureWriting | None


class _Template:
    """One compiled template and what was found out about it."""

    def __init__(self, source: str, origin: str, rendering: _Rendering) -> None:
        self.source = source
        self._rendering = rendering
        try:
            self._compiled = compile_template(source)
            self.free = free_variables(source)
        except jinja2.TemplateSyntaxError as error:
            raise ModelUnusable(
                f"The chat template {origin!r} is broken in line {error.lineno}: {error.message}. Mend it, or set another "
                "one with the setting models.chat_template."
            ) from None

    @cached_property
    def style(self) -> Style:
        """Found by trial at the first use: a dozen small renderings, some milliseconds."""
        pictures = self._rendering.pictures
        return find_style(self.source, self._try, partial(self._try, options=THINKING), pictures.placeholder if pictures else None)

    @cached_property
    def _no_tools(self) -> list[Fields] | None:
        """No tools are None, except for templates made for tools only, which walk through them unasked."""
        try:
            self._render_given([{"role": "user", "content": "Hello"}], None, {}, answers=True)
        except TypeError:
            return []
        except FAILURES:
            return None
        return None

    def render(self, conversation: Conversation) -> str:
        try:
            return self._render_checked(conversation)
        except TemplateRefusal as refusal:
            raise InvalidRequest(f"The model's chat template refuses this conversation: {refusal.message}", param="messages") from None
        except FAILURES as error:
            raise InvalidRequest(
                f"The model's chat template cannot render this conversation: {type(error).__name__}: {error}. "
                "Check the roles and their order, or set another template with the setting models.chat_template.",
                param="messages",
            ) from None

    def _render_checked(self, conversation: Conversation) -> str:
        fields, tools = self._fields(conversation), self._tools(conversation)
        if conversation.continue_last_message:
            _mark_end(fields[-1])
            return self._with_marks(_cut_at_end_mark(self._render(fields, tools, conversation.options, answers=False)), fields)
        rendered = self._render_with_tools(fields, tools, conversation.options)
        self._check_complete(rendered, conversation)
        return self._with_marks(rendered, fields)

    def _with_marks(self, rendered: str, fields: Sequence[Fields]) -> str:
        pictures = self._rendering.pictures
        return rendered if pictures is None else pictures.with_marks(rendered, picture_part_marks(fields))

    def _render_with_tools(self, fields: list[Fields], tools: list[Fields], options: Mapping[str, object]) -> str:
        """Some templates fail with schemas that leave out what they look for, so those are spelled out for them."""
        try:
            return self._render(fields, tools, options, answers=True)
        except (TemplateRefusal, LimitReached):
            raise
        except FAILURES:
            if not tools:
                raise
            return self._render(fields, spelled_out(tools), options, answers=True)

    def _fields(self, conversation: Conversation) -> list[Fields]:
        return message_fields(conversation.messages, self.style, conversation.write_calls, conversation.tools)

    def _tools(self, conversation: Conversation) -> list[Fields]:
        """What the template shows by itself; the messages tell the rest."""
        return tool_fields(conversation.tools) if self.style.tools or conversation.write_calls is None else []

    def _try(self, messages: Sequence[Fields], tools: Sequence[Fields], options: Mapping[str, object] = NO_OPTIONS) -> str | None:
        try:
            return self._render(messages, tools, options, answers=True)
        except LimitReached:  # a slow moment of the machine must not pass for a property of the template
            raise
        except FAILURES:
            return None

    def _render(self, messages: Sequence[Fields], tools: Sequence[Fields], options: Mapping[str, object], *, answers: bool) -> str:
        return self._render_given(messages, list(tools) or self._no_tools, options, answers=answers)

    def _render_given(self, messages: Sequence[Fields], tools: list[Fields] | None, options: Mapping[str, object], *, answers: bool) -> str:
        variables = {"documents": None, **self._rendering.variables, **self._extras(tools or []), **options}
        given: dict[str, object] = {"messages": list(messages), "tools": tools, "add_generation_prompt": answers}
        pictures = self._rendering.pictures
        if pictures is not None:
            variables, given = variables | cast("Fields", pictures.guarded({**options})), cast("Fields", pictures.guarded(given))
        return render(self._compiled, {**variables, **given}, limits=self._rendering.limits, now=self._rendering.now)

    def _extras(self, tools: Sequence[Fields]) -> Mapping[str, object]:
        """Firefunction's template wants the tools as text and the time, by names of its own."""
        extras: dict[str, object] = {}
        if "functions" in self.free:
            extras["functions"] = json.dumps(tools, ensure_ascii=False, indent=2)
        if "datetime" in self.free:
            extras["datetime"] = self._rendering.now().strftime("%b %d %Y %H:%M:%S GMT")
        return extras

    def _check_complete(self, rendered: str, conversation: Conversation) -> None:
        """Refuse what the template leaves out in silence: the model would answer another conversation than the caller's.

        The trials only raise suspicion; the proof is that the same text comes out without the part in question.
        """
        written = conversation.write_calls is not None
        if conversation.tools and not self.style.tools and self._same(rendered, replace(conversation, tools=())):
            raise UnsupportedField(
                "This model's chat template has no place for tools. Leave out `tools`, or choose a model that was trained with them.",
                param="tools",
            )
        if not self.style.calls and not written and any(message.tool_calls for message in conversation.messages):
            without = [replace(message, tool_calls=()) for message in conversation.messages]
            if self._same(rendered, replace(conversation, messages=without)):
                raise UnsupportedField(
                    "This model's chat template has no place for tool calls. Write them into the text of the message.", param="messages"
                )
        for role in (self.style.lost - {"user"}) & {message.role for message in conversation.messages}:
            without = [message for message in conversation.messages if message.role != role]
            if self._same(rendered, replace(conversation, messages=without)):
                raise UnsupportedField(
                    f"This model's chat template has no place for messages of the role {role!r}. Put their text into a user message.",
                    param="messages",
                )

    def _same(self, rendered: str, without: Conversation) -> bool:
        return rendered == self._try(self._fields(without), self._tools(without), without.options)


def _check(conversation: Conversation) -> None:
    if not conversation.messages:
        raise InvalidRequest("`messages` is empty: give at least one message.", param="messages")
    reserved = sorted(RESERVED & conversation.options.keys())
    if reserved:
        raise InvalidRequest(
            f"The template options may not set {reserved[0]!r}: it comes from the request itself.", param="chat_template_kwargs"
        )
    last = conversation.messages[-1]
    if conversation.continue_last_message and (last.role != "assistant" or not last.text or last.tool_calls):
        raise InvalidRequest(
            f"To continue the last message, it must be an assistant message with text and no tool calls; it is a {last.role!r} message.",
            param="messages",
        )


def _mark_end(fields: Fields) -> None:
    content = fields["content"]
    if isinstance(content, str):
        fields["content"] = content + END_MARK
    else:
        part = cast("list[Fields]", content)[-1]
        part["text"] = f"{part['text']}{END_MARK}"


def _cut_at_end_mark(rendered: str) -> str:
    """Where the template trims the message, its last spaces go too, as in Hugging Face transformers."""
    end = rendered.rfind(END_MARK.strip())
    if end < 0:
        raise InvalidRequest("The model's chat template changes the last message, so that it cannot be continued.", param="messages")
    return rendered[:end] if rendered.startswith(END_MARK, end) else rendered[:end].rstrip()


def _load_override(path: Path, variables: Mapping[str, object], pictures: PictureWriting | None) -> ChatTemplate:
    try:
        return ChatTemplate({"default": path.read_text(encoding="utf-8")}, variables=variables, origin=str(path), pictures=pictures)
    except (OSError, UnicodeDecodeError, ModelUnusable) as error:
        raise ConfigurationError(f"Setting models.chat_template = {str(path)!r}: {error}") from None


def _sources(folder: Path) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """Every place where a template may be, the one that counts most first, with the named templates found there."""
    path = folder / TEMPLATE_FILE
    more = {found.stem: _read(found) for found in sorted((folder / MORE_TEMPLATES).glob("*.jinja"))}
    yield path, ({"default": _read(path)} if path.is_file() else {}) | more
    for name in ("chat_template.json", "tokenizer_config.json"):
        yield folder / name, _named_sources(read_json(folder / name).get("chat_template"))


def _named_sources(value: object) -> Mapping[str, str]:
    """A template is written as a string, as an object of named strings, or as a list of objects with `name` and `template`."""
    if isinstance(value, str):
        return {"default": value}
    if isinstance(value, list):
        return {str(item.get("name")): str(item.get("template")) for item in cast("list[Json]", value)}
    return cast("Mapping[str, str]", value) if isinstance(value, dict) else {}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelUnusable(f"The model's file {str(path)!r} cannot be read: {error}. Download the model again.") from None
