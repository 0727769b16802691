"""The bodies of OpenAI's Responses API (SDK 3.52), and our extensions to them.

Every optional field takes null as absent. Fields, items and tools that are not listed are accepted and ignored; listed ones that cannot
be honoured are refused in `reading/`. Items keep all their fields, because they are given back by `input_items`.
"""

from typing import Annotated, Any, Literal, cast, get_args

from pydantic import ConfigDict, Discriminator, Field, Tag, TypeAdapter, WithJsonSchema

from pomona.server.bodies import REFUSED, KeepAlive, Schema, WireBody, given, needs, rules, where

MAX_ITEMS = 20_000
JsonObject = dict[str, Any]
_SOME: Schema = {"type": "array", "minItems": 1}
_TEXT: Schema = {"type": "string"}
_FILLED: Schema = {"type": "string", "minLength": 1}
_ASKED: Schema = {
    "anyOf": [needs("input", _TEXT), needs("input", _SOME), needs("instructions", _FILLED), needs("previous_response_id", _FILLED)]
}
NonEmpty = Annotated[str, Field(min_length=1)]
Role = Literal["user", "assistant", "system", "developer"]


def _by_json_type(names: dict[type, str], allowed: str) -> Discriminator:
    """Choose the member of a union by the JSON type, so that errors speak of one member only."""

    def choose(value: object) -> str | None:
        return next((name for kind, name in names.items() if isinstance(value, kind)), None)

    return Discriminator(choose, custom_error_type="wrong_type", custom_error_message=f"should be {allowed}")


def _by_type_field(known: frozenset[str], missing: str, allowed: str) -> Discriminator:
    """Choose the member of a union by the object's `type`; unknown types are plain objects."""

    def choose(value: object) -> str | None:
        kind: object = getattr(value, "type", None) or missing
        if isinstance(value, dict):
            kind = cast("JsonObject", value).get("type") or missing
        elif not isinstance(value, WireBody):
            return None
        return f"<{kind}>" if isinstance(kind, str) and kind in known else "<other>"

    return Discriminator(choose, custom_error_type="wrong_type", custom_error_message=f"should be {allowed}")


class Kept(WireBody):
    """An object whose unknown fields are kept."""

    model_config = ConfigDict(extra="allow")


class ItemPart(Kept):
    """A part of a message or of a tool's output."""

    type: str = "input_text"
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None


Content = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[ItemPart], Tag("<parts>")],
    _by_json_type({str: "<text>", list: "<parts>"}, "a string or a list of content parts"),
]


class FunctionToolBody(Kept):
    """A function that the model may call."""

    type: Literal["function"]
    name: NonEmpty
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None
    defer_loading: bool | None = None


class InputFormat(Kept):
    """The form of a custom tool's input."""

    type: str = "text"
    syntax: str | None = None
    definition: str | None = None


class CustomToolBody(Kept):
    """A tool that takes one free text."""

    type: Literal["custom"]
    name: NonEmpty
    description: str | None = None
    format: InputFormat | None = None
    defer_loading: bool | None = None


class ToolSearchBody(Kept):
    """The tool that finds further tools."""

    type: Literal["tool_search"]
    description: str | None = None
    execution: str | None = None
    parameters: JsonObject | None = None


_LEAVES = frozenset({"function", "custom", "tool_search"})
_LEAF_MEMBERS = "an object that describes a tool"
LeafTool = Annotated[
    Annotated[FunctionToolBody, Tag("<function>")]
    | Annotated[CustomToolBody, Tag("<custom>")]
    | Annotated[ToolSearchBody, Tag("<tool_search>")]
    | Annotated[JsonObject, Tag("<other>")],
    _by_type_field(_LEAVES, "", _LEAF_MEMBERS),
]


class NamespaceBody(Kept):
    """Tools under a name of their own."""

    type: Literal["namespace"]
    name: NonEmpty
    description: str | None = None
    tools: list[LeafTool]


Tool = Annotated[
    Annotated[FunctionToolBody, Tag("<function>")]
    | Annotated[CustomToolBody, Tag("<custom>")]
    | Annotated[ToolSearchBody, Tag("<tool_search>")]
    | Annotated[NamespaceBody, Tag("<namespace>")]
    | Annotated[JsonObject, Tag("<other>")],
    _by_type_field(_LEAVES | {"namespace"}, "", _LEAF_MEMBERS),
]


class MessageItem(Kept):
    """One turn, or a part of the assistant's."""

    type: Literal["message"] | None = None
    id: str | None = None
    role: Role
    content: Content | None = None


class FunctionCallItem(Kept):
    """A call that the model made."""

    type: Literal["function_call"]
    id: str | None = None
    call_id: str
    name: NonEmpty
    namespace: str | None = None
    arguments: str


class CustomCallItem(Kept):
    """A call of a custom tool that the model made."""

    type: Literal["custom_tool_call"]
    id: str | None = None
    call_id: str
    name: NonEmpty
    namespace: str | None = None
    input: str


class OutputItem(Kept):
    """What a function or custom tool gave back."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    id: str | None = None
    call_id: str | None = None
    output: Content


class ReasoningItem(Kept):
    """A thought. `encrypted_content` goes before `content`, and that before `summary`."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: list[ItemPart] | None = None
    content: list[ItemPart] | None = None
    encrypted_content: str | None = None


class ActionCallItem(Kept):
    """A shell call that the model made."""

    type: Literal["shell_call", "local_shell_call"]
    id: str | None = None
    call_id: str | None = None
    action: JsonObject


class PatchCallItem(Kept):
    """A change of a file that the model asked for."""

    type: Literal["apply_patch_call"]
    id: str | None = None
    call_id: str
    operation: JsonObject


class ActionOutputItem(Kept):
    """What a shell or a change of a file gave back: a string, or a list of objects with stdout, stderr and outcome."""

    type: Literal["shell_call_output", "local_shell_call_output", "apply_patch_call_output"]
    id: str | None = None
    call_id: str | None = None
    output: Any = None
    status: str | None = None


class SearchCallItem(Kept):
    """A search for further tools."""

    type: Literal["tool_search_call"]
    id: str | None = None
    call_id: str | None = None
    arguments: Any = None


class MoreToolsItem(Kept):
    """Further tools, found by a search or added by the client."""

    type: Literal["tool_search_output", "additional_tools"]
    id: str | None = None
    call_id: str | None = None
    tools: list[Tool]


class McpCallItem(Kept):
    """A call of a remote tool that another server made."""

    type: Literal["mcp_call"]
    id: str | None = None
    name: NonEmpty
    arguments: str = "{}"
    output: str | None = None


class ConfigurationItem(Kept):
    """What holds from here on."""

    type: Literal["configuration_update"]
    id: str | None = None
    reasoning: "ThinkingBody | None" = None
    text: "TextBody | None" = None


class CompactionItem(Kept):
    """A conversation in short."""

    type: Literal["compaction"]
    id: str | None = None
    encrypted_content: str


class TriggerItem(Kept):
    """The wish to have all that precedes in short."""

    type: Literal["compaction_trigger"]
    id: str | None = None


class ReferenceItem(Kept):
    """An item that is kept here."""

    type: Literal["item_reference"]
    id: str


_ITEM_TYPES = frozenset(
    {
        "message",
        "function_call",
        "custom_tool_call",
        "function_call_output",
        "custom_tool_call_output",
        "reasoning",
        "shell_call",
        "local_shell_call",
        "apply_patch_call",
        "shell_call_output",
        "local_shell_call_output",
        "apply_patch_call_output",
        "tool_search_call",
        "tool_search_output",
        "additional_tools",
        "mcp_call",
        "configuration_update",
        "compaction",
        "compaction_trigger",
        "item_reference",
    }
)
_PUBLISHED_ITEM: Schema = {
    "type": "object",
    "title": "Item",
    "description": f"An item; one without a type is a message. The fields of these types are checked: {', '.join(sorted(_ITEM_TYPES))}.",
    "properties": {"type": {"type": ["string", "null"]}},
    "anyOf": [
        needs("type", {"type": "string", "minLength": 1}),
        {
            "required": ["role", "content"],
            "properties": {"role": {"enum": list(get_args(Role))}, "content": {"type": "string"}},
        },
    ],
}
"""Two dozen kinds of items in one union are beyond what tools that read OpenAPI can follow."""
Item = Annotated[
    Annotated[MessageItem, Tag("<message>")]
    | Annotated[FunctionCallItem, Tag("<function_call>")]
    | Annotated[CustomCallItem, Tag("<custom_tool_call>")]
    | Annotated[OutputItem, Tag("<function_call_output>")]
    | Annotated[OutputItem, Tag("<custom_tool_call_output>")]
    | Annotated[ReasoningItem, Tag("<reasoning>")]
    | Annotated[ActionCallItem, Tag("<shell_call>")]
    | Annotated[ActionCallItem, Tag("<local_shell_call>")]
    | Annotated[PatchCallItem, Tag("<apply_patch_call>")]
    | Annotated[ActionOutputItem, Tag("<shell_call_output>")]
    | Annotated[ActionOutputItem, Tag("<local_shell_call_output>")]
    | Annotated[ActionOutputItem, Tag("<apply_patch_call_output>")]
    | Annotated[SearchCallItem, Tag("<tool_search_call>")]
    | Annotated[MoreToolsItem, Tag("<tool_search_output>")]
    | Annotated[MoreToolsItem, Tag("<additional_tools>")]
    | Annotated[McpCallItem, Tag("<mcp_call>")]
    | Annotated[ConfigurationItem, Tag("<configuration_update>")]
    | Annotated[CompactionItem, Tag("<compaction>")]
    | Annotated[TriggerItem, Tag("<compaction_trigger>")]
    | Annotated[ReferenceItem, Tag("<item_reference>")]
    | Annotated[JsonObject, Tag("<other>")],
    _by_type_field(_ITEM_TYPES, "message", "an object that is an item, such as a message"),
    WithJsonSchema(_PUBLISHED_ITEM),
]
Input = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[Item], Field(max_length=MAX_ITEMS), Tag("<items>")],
    _by_json_type({str: "<text>", list: "<items>"}, "a string or a list of items"),
]
Items: TypeAdapter[list[Item]] = TypeAdapter(list[Item])
"""Reads items that were stored."""


class ThinkingBody(Kept):
    """How much the model thinks, and what is shown of it. `budget_tokens` is an extension."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    context: str | None = None
    budget_tokens: int | None = Field(None, ge=0, description="Most tokens of thought; then the end of the thought is forced.")


class FormatBody(Kept):
    """The form of the answer. `regex`, `choice`, `lark` and `xml_schema` are extensions."""

    type: str = "text"
    schema_: JsonObject | bool | None = Field(None, alias="schema")
    pattern: str | None = None
    choices: list[str] | None = None
    grammar: str | None = None


class TextBody(Kept):
    """How the answer is written."""

    format: FormatBody | None = None
    verbosity: str | None = None


class CacheBody(WireBody):
    """What is asked of the prompt cache."""

    prewarm: bool | None = None


class ContextBody(WireBody):
    """What a response is made from, for all routes that take it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            {
                "anyOf": [
                    needs("input", _TEXT),
                    needs("input", _SOME),
                    needs("instructions", _FILLED),
                    needs("previous_response_id", _FILLED),
                ]
            },
            where("tool_choice", ["required"], needs("tools", _SOME)),
            given("tool_choice", needs("tools", _SOME), needs("type", {"enum": ["function", "custom"]}) | {"type": "object"}),
        )
    )

    input: Input | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Annotated[JsonObject | None, WithJsonSchema(REFUSED)] = None
    reasoning: ThinkingBody | None = None
    text: TextBody | None = None
    tools: list[Tool] | None = None
    tool_choice: (
        Annotated[
            Annotated[Literal["none", "auto", "required"], Tag("<mode>")] | Annotated[JsonObject, Tag("<tool>")],
            _by_json_type({str: "<mode>", dict: "<tool>"}, "'none', 'auto', 'required' or an object that names a tool"),
        ]
        | None
    ) = None
    parallel_tool_calls: bool | None = None
    truncation: str | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None
    chat_template_kwargs: JsonObject | None = Field(None, description="Further variables for the chat template.")


class ResponseRequest(ContextBody):
    """The body of POST /v1/responses; `top_k` to `stop` are extensions."""

    model: NonEmpty
    keep_alive: KeepAlive = None
    stream: bool | None = None
    background: bool | None = None
    store: bool | None = None
    include: list[str] | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    max_tool_calls: int | None = Field(None, ge=0)
    metadata: JsonObject | None = None
    prompt_cache_options: CacheBody | None = None
    safety_identifier: str | None = None
    user: str | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_logprobs: int | None = Field(None, ge=0, le=20)
    top_k: int | None = Field(None, ge=-1, description="Keep the k most likely tokens; 0 and -1 keep all.")
    min_p: float | None = Field(None, ge=0, le=1, description="Drop tokens less likely than this share of the most likely one.")
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0, le=10, description="Above 1 discourages what was already said.")
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: list[NonEmpty] | None = Field(None, max_length=16)


class InputTokensRequest(ContextBody):
    """The body of POST /v1/responses/input_tokens. Without a model the default one counts."""

    model: NonEmpty | None = None


class CompactRequest(ContextBody):
    """The body of POST /v1/responses/compact."""

    model: NonEmpty
