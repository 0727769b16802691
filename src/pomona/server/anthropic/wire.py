"""The bodies of Anthropic's messages and token counts (SDK 2.12, `anthropic.types` and `anthropic.types.beta`).

Every optional field takes null as absent. Fields, blocks and tools that are not known are accepted: clients send them before servers
know them, and only in the vendor's cloud do they mean anything. Blocks that are known have their fields checked.
"""

from typing import Annotated, Any, Literal, cast

from pydantic import ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from pomona.server.bodies import REFUSED, KeepAlive, WireBody, needs, rules, where

MAX_MESSAGES = 100_000
MAX_STOPS = 8191
JsonObject = dict[str, Any]
NonEmpty = Annotated[str, Field(min_length=1)]
Effort = Literal["low", "medium", "high", "xhigh", "max"]


def _by_json_type(names: dict[type, str], allowed: str) -> Discriminator:
    """Choose the member of a union by the JSON type, so that errors speak of one member only."""

    def choose(value: object) -> str | None:
        return names.get(type(value))

    return Discriminator(choose, custom_error_type="wrong_type", custom_error_message=f"should be {allowed}")


class TextBlock(WireBody):
    """Text. Its citations, if it has any, are not shown to the model."""

    type: Literal["text"]
    text: str


class Source(WireBody):
    """Where an image or a document is."""

    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    content: "Content | None" = None


class ImageBlock(WireBody):
    """A picture."""

    type: Literal["image"]
    source: Source


class DocumentBlock(WireBody):
    """A document: text and content are read, the pages of a PDF become pictures; a stored file cannot be read."""

    type: Literal["document"]
    source: Source
    title: str | None = None
    context: str | None = None


class SearchResultBlock(WireBody):
    """What a search of the client found."""

    type: Literal["search_result"]
    title: str = ""
    source: str = ""
    content: "list[Block] | None" = None


class ThinkingBlock(WireBody):
    """A thought of an earlier answer. Any signature is taken; ours may carry a thought that was not shown."""

    type: Literal["thinking"]
    thinking: str = ""
    signature: str | None = None


class ToolUseBlock(WireBody):
    """A call that an earlier answer made."""

    type: Literal["tool_use"]
    id: NonEmpty
    name: NonEmpty
    input: JsonObject = Field(default_factory=dict)
    toolset_name: str | None = None


class ToolResultBlock(WireBody):
    """What came of a call."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: "Content | None" = None
    is_error: bool | None = None


class HostedToolUseBlock(WireBody):
    """A call that the vendor's cloud made and answered by itself, in an earlier answer from there."""

    type: Literal["server_tool_use", "mcp_tool_use"]
    id: NonEmpty
    name: NonEmpty
    input: JsonObject = Field(default_factory=dict)


class HostedResultBlock(WireBody):
    """What came of a call that the vendor's cloud made: `web_search_tool_result`, `mcp_tool_result` and their like."""

    type: str
    tool_use_id: str = ""
    content: Any = None
    is_error: bool | None = None


class CompactionBlock(WireBody):
    """The summary that stands for the turns before it, and how those had changed the tools."""

    type: Literal["compaction"]
    content: str | None = None
    tool_changes: "list[ToolChangeBlock] | None" = None


class ToolReferenceBlock(WireBody):
    """Says that a tool whose definition was held back may be used from now on."""

    type: Literal["tool_reference"]
    tool_name: str = ""


class ToolChange(WireBody):
    """Which tool is added or removed: by name, or with its whole definition."""

    type: str
    name: str | None = None
    definition: "ToolBody | None" = None


class ToolChangeBlock(WireBody):
    """Adds a tool in the midst of a conversation, or takes one away."""

    type: Literal["tool_addition", "tool_removal"]
    tool: ToolChange


class OtherBlock(WireBody):
    """A block of a type that this server does not know. Its text is read if it has one; else it is left out."""

    model_config = ConfigDict(extra="allow")

    type: str


_BLOCKS = {
    "text": "<text>",
    "image": "<image>",
    "document": "<document>",
    "search_result": "<search_result>",
    "thinking": "<thinking>",
    "tool_use": "<tool_use>",
    "tool_result": "<tool_result>",
    "server_tool_use": "<hosted_use>",
    "mcp_tool_use": "<hosted_use>",
    "compaction": "<compaction>",
    "tool_reference": "<tool_reference>",
    "tool_addition": "<tool_change>",
    "tool_removal": "<tool_change>",
}


def _block_tag(value: object) -> str | None:
    kind = cast("JsonObject", value).get("type") if isinstance(value, dict) else getattr(value, "type", None)
    if not isinstance(kind, str):
        return None
    return _BLOCKS.get(kind) or ("<hosted_result>" if kind.endswith("_tool_result") else "<other>")


_PUBLISHED_BLOCK: JsonObject = {
    "type": "object",
    "title": "Block",
    "description": (
        "A content block. The fields of these types are checked, as in Anthropic's description of them: text, image, document, "
        "search_result, thinking, tool_use, tool_result, server_tool_use, mcp_tool_use, compaction, tool_reference, tool_addition, "
        "tool_removal, and all that end in _tool_result. Other types are accepted, and only the text that they have is read."
    ),
    "required": ["type"],
    "properties": {"type": {"type": "string"}},
}
"""Blocks hold blocks: their whole union is beyond what tools that read OpenAPI can follow."""

Block = Annotated[
    Annotated[TextBlock, Tag("<text>")]
    | Annotated[ImageBlock, Tag("<image>")]
    | Annotated[DocumentBlock, Tag("<document>")]
    | Annotated[SearchResultBlock, Tag("<search_result>")]
    | Annotated[ThinkingBlock, Tag("<thinking>")]
    | Annotated[ToolUseBlock, Tag("<tool_use>")]
    | Annotated[ToolResultBlock, Tag("<tool_result>")]
    | Annotated[HostedToolUseBlock, Tag("<hosted_use>")]
    | Annotated[HostedResultBlock, Tag("<hosted_result>")]
    | Annotated[CompactionBlock, Tag("<compaction>")]
    | Annotated[ToolReferenceBlock, Tag("<tool_reference>")]
    | Annotated[ToolChangeBlock, Tag("<tool_change>")]
    | Annotated[OtherBlock, Tag("<other>")],
    Discriminator(_block_tag, custom_error_type="wrong_block", custom_error_message="should be an object with a type that is a string"),
    WithJsonSchema(_PUBLISHED_BLOCK),
]
Content = Annotated[
    Annotated[str, Tag("<string>")] | Annotated[list[Block], Tag("<blocks>")],
    _by_json_type({str: "<string>", list: "<blocks>"}, "a string or a list of content blocks"),
]


class MessageOutputConfig(WireBody):
    """How one turn is to be answered."""

    effort: Effort | None = None


class MessageBody(WireBody):
    """One turn. System messages stay where they are."""

    role: Literal["user", "assistant", "system"]
    content: Content | None = None
    clear_at: Literal["next_user_message", "never"] | None = None
    output_config: MessageOutputConfig | None = None


_OWN_TOOL: JsonObject = {
    "properties": {"type": {"enum": [None, "custom"]}, "allowed_callers": {"anyOf": [{"type": "null"}, {"contains": {"const": "direct"}}]}}
}


class ToolBody(WireBody):
    """A tool: one of the client's own with its schema, or one that its type names."""

    model_config = ConfigDict(json_schema_extra=rules({"if": _OWN_TOOL, "then": needs("name", {"type": "string"})}))

    type: str | None = None
    name: str | None = None
    description: str | None = None
    input_schema: JsonObject | None = None
    strict: bool | None = None
    input_examples: list[JsonObject] | None = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None
    configs: JsonObject | None = None
    display_width_px: int | None = None
    display_height_px: int | None = None
    enable_zoom: bool | None = None


class ToolChoiceBody(WireBody):
    """Whether tools are called."""

    model_config = ConfigDict(json_schema_extra=rules(where("type", ["tool"], needs("name"))))

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingBody(WireBody):
    """Whether and how much the model thinks before it answers, and whether its thoughts are shown."""

    type: Literal["enabled", "adaptive", "disabled", "between_tools"]
    budget_tokens: int | None = Field(None, ge=0)
    display: str | None = None


class JsonFormat(WireBody):
    """The form that the answer must have."""

    type: Literal["json_schema"]
    schema_: JsonObject = Field(alias="schema")


class OutputConfig(WireBody):
    """How the answer is to be made."""

    effort: Effort | None = None
    format: JsonFormat | None = None


class Metadata(WireBody):
    """Who asks. Claude Code names its session in `user_id`."""

    user_id: str | None = None


class Amount(WireBody):
    """A number of tokens, tool uses or turns."""

    type: str
    value: int | None = Field(None, ge=0)


_KEEP = _by_json_type({str: "<all>", dict: "<amount>"}, "'all' or an object with a type")
_INPUTS = _by_json_type({bool: "<every>", list: "<named>"}, "true, false or a list of tool names")


class Edit(WireBody):
    """Something to leave out of the conversation before the model reads it."""

    type: str
    keep: Annotated[Annotated[str, Tag("<all>")] | Annotated[Amount, Tag("<amount>")], _KEEP] | None = None
    trigger: Amount | None = None
    clear_at_least: Amount | None = None
    clear_tool_inputs: Annotated[Annotated[bool, Tag("<every>")] | Annotated[list[str], Tag("<named>")], _INPUTS] | None = None
    exclude_tools: list[str] | None = None


class ContextManagement(WireBody):
    """What is to be left out when a conversation grows long."""

    edits: list[Edit] | None = None


class DiagnosticsBody(WireBody):
    """Asks why the prompt was not in the cache, against an earlier answer."""

    previous_message_id: str | None = None


class ThreadBody(WireBody):
    """Asks for a conversation that the server keeps."""

    type: str


class CompactionBody(WireBody):
    """Asks for a summary of the conversation instead of an answer."""

    type: Literal["summarize"]
    instructions: str | None = None


_SOMETHING: JsonObject = {
    "type": "array",
    "contains": {
        "anyOf": [
            {"properties": {"type": {"const": "text"}, "text": {"type": "string", "minLength": 1}}, "required": ["type", "text"]},
            {"properties": {"type": {"const": "tool_result"}, "tool_use_id": {"type": "string"}}, "required": ["type", "tool_use_id"]},
        ]
    },
}
"""Blocks that say something."""


class CountTokensRequest(WireBody):
    """The body of POST /v1/messages/count_tokens."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            needs(
                "messages", {"contains": {"anyOf": [needs("content", {"type": "string", "minLength": 1}), needs("content", _SOMETHING)]}}
            ),
            {
                "if": needs("tool_choice", needs("type", {"enum": ["any", "tool"]})),
                "then": needs("tools", {"type": "array", "minItems": 1}),
            },
        )
    )

    model: NonEmpty
    messages: list[MessageBody] = Field(min_length=1, max_length=MAX_MESSAGES)
    system: Content | None = None
    tools: list[ToolBody] | None = None
    tool_choice: ToolChoiceBody | None = None
    thinking: ThinkingBody | None = None
    output_config: OutputConfig | None = None
    output_format: JsonFormat | None = Field(None, description="The beta's name for output_config.format.")
    context_management: ContextManagement | None = None
    metadata: Metadata | None = None
    service_tier: str | None = None
    speed: str | None = None
    thread: Annotated[ThreadBody | None, WithJsonSchema(REFUSED)] = None


class MessagesRequest(CountTokensRequest):
    """The body of POST /v1/messages. Fields of the vendor's cloud are accepted and ignored; docs/howto/anthropic-api.md lists them."""

    max_tokens: int = Field(ge=0, description="0 reads the prompt into the cache and answers nothing.")
    stream: bool | None = None
    stop_sequences: list[str] | None = Field(None, max_length=MAX_STOPS)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1, lt=2**31, description="Keep the k most likely tokens; 0 and -1 keep all.")
    seed: int | None = Field(None, ge=-(2**63), lt=2**63, description="Extension: the same seed and prompt give the same text.")
    keep_alive: KeepAlive = None
    diagnostics: DiagnosticsBody | None = None
    compaction: CompactionBody | None = None
