"""The bodies and answers of OpenAI's chat completions and completions (SDK 3.52), and our extensions to them.

Every optional field takes null as absent. Fields that are not listed are accepted and ignored; listed ones that cannot be honoured
are refused where they are decoded. The classes of answers are what the OpenAPI document shows; `chunks` and `choices` write them.
"""

from typing import Annotated, Any, Literal, cast

from pydantic import ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from pomona.server.bodies import REFUSED, KeepAlive, Schema, WireBody, given, needs, rules, unless, where

MAX_CHOICES = 128
MAX_STOPS = 16
Role = Literal["developer", "system", "user", "assistant", "tool", "function"]
JsonObject = dict[str, Any]
_FUNCTION, _CUSTOM = (needs(kind, {"type": "object"}) for kind in ("function", "custom"))
_FILLED: Schema = {"type": "string", "minLength": 1}
_SOME: Schema = {"type": "array", "minItems": 1}
_NONE: Schema = {"type": ["array", "null"], "maxItems": 0}


def union_of(names: dict[type, str], allowed: str) -> Discriminator:
    """Choose the member of a union by the JSON type, so that errors speak of one member only."""

    def choose(value: object) -> str | None:
        return names.get(type(value))

    return Discriminator(choose, custom_error_type="wrong_type", custom_error_message=f"should be {allowed}")


class PictureAddress(WireBody):
    """Where a picture is: a data:, http: or https: address, or file: where the server reads files."""

    url: str
    detail: str | None = None


class FileBody(WireBody):
    """A PDF as a data: address. Its pages become pictures."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class ContentPart(WireBody):
    """A part of a message's content: text, refusal, a picture, or a PDF. Sound and stored files are refused."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *(where("type", [kind], needs(kind, {"type": "string"})) for kind in ("text", "refusal")),
            *(where("type", [kind], needs(kind, {"type": "object"})) for kind in ("image_url", "file")),
        )
    )

    type: str = Field(json_schema_extra={"enum": ["text", "refusal", "image_url", "file"]})
    text: str | None = None
    refusal: str | None = None
    image_url: PictureAddress | None = None
    file: FileBody | None = None


Content = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[ContentPart], Tag("<parts>")],
    union_of({str: "<text>", list: "<parts>"}, "a string or a list of content parts"),
]
NonEmpty = Annotated[str, Field(min_length=1)]
Stop = Annotated[
    Annotated[NonEmpty, Tag("<one>")] | Annotated[list[NonEmpty], Field(max_length=MAX_STOPS), Tag("<several>")],
    union_of({str: "<one>", list: "<several>"}, f"a string or a list of up to {MAX_STOPS} strings"),
]


class FunctionCall(WireBody):
    """Name and arguments (JSON text) of a call."""

    name: str
    arguments: str


class CustomCall(WireBody):
    """Name and input (free text) of a call to a custom tool."""

    name: str
    input: str


class ToolCallBody(WireBody):
    """A call in an earlier assistant message."""

    model_config = ConfigDict(json_schema_extra=rules(where("type", ["custom"], _CUSTOM), unless("type", ["custom"], _FUNCTION)))

    id: str
    type: str = Field("function", json_schema_extra={"enum": ["function", "custom"]})
    function: FunctionCall | None = None
    custom: CustomCall | None = None


class MessageBody(WireBody):
    """One turn. Further keys are handed to the chat template."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra=rules(
            where("role", ["tool"], needs("tool_call_id", _FILLED)),
            unless("role", ["assistant"], needs("content")),
            unless("role", ["assistant"], {"properties": {"tool_calls": _NONE, "function_call": REFUSED}}),
        ),
    )

    role: Role
    content: Content | None = None
    name: str | None = None
    reasoning_content: str | None = Field(None, description="What the assistant thought, as an earlier answer told it.")
    tool_calls: list[ToolCallBody] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCall | None = None


class FunctionBody(WireBody):
    """A function that the model may call. Calls of a `strict` one fit its `parameters` always."""

    name: NonEmpty
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class GrammarBody(WireBody):
    """A grammar that the input of a custom tool should fit; the model is told of it."""

    definition: str
    syntax: str = "lark"


class CustomFormat(WireBody):
    """The form of a custom tool's input."""

    type: str
    grammar: GrammarBody | None = None


class CustomBody(WireBody):
    """A tool whose input is free text."""

    name: NonEmpty
    description: str | None = None
    format: CustomFormat | None = None


class ToolBody(WireBody):
    """A tool that the model may use: of type `function` or `custom`."""

    model_config = ConfigDict(json_schema_extra=rules(where("type", ["custom"], _CUSTOM), where("type", ["function"], _FUNCTION)))

    type: str = Field(json_schema_extra={"enum": ["function", "custom"]})
    function: FunctionBody | None = None
    custom: CustomBody | None = None


class StreamOptions(WireBody):
    """How a stream is sent."""

    include_usage: bool | None = None


class JsonSchemaBody(WireBody):
    """A JSON Schema; it is enforced whatever `strict` says."""

    model_config = ConfigDict(protected_namespaces=())

    name: str | None = None
    schema_: JsonObject | None = Field(None, alias="schema")


class ResponseFormat(WireBody):
    """The form that the answer must have: `text`, `json_object`, `json_schema`, and ours `regex`, `choice`, `lark`, `xml_schema`."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            where("type", ["json_schema"], needs("json_schema", {"type": "object"})),
            where("type", ["regex"], needs("pattern", _FILLED)),
            where("type", ["choice"], needs("choices", _SOME)),
            where("type", ["lark"], needs("grammar", _FILLED)),
            where("type", ["xml_schema"], needs("schema", {"type": "object"})),
        )
    )

    type: str = Field(json_schema_extra={"enum": ["text", "json_object", "json_schema", "regex", "choice", "lark", "xml_schema"]})
    json_schema: JsonSchemaBody | None = None
    pattern: str | None = Field(None, description="For `regex`: a regular expression that the whole answer matches.")
    choices: list[str] | None = Field(None, description="For `choice`: the answers that there are.")
    grammar: str | None = Field(None, description="For `lark`: a grammar in llguidance's dialect of Lark.")
    schema_: JsonObject | None = Field(None, alias="schema", description="For `xml_schema`: a JSON Schema of the elements.")


_STREAMED = given("stream_options", needs("stream", {"const": True}))


class SamplingBody(WireBody):
    """What chat completions and completions have in common; `top_k` to `guided_grammar` are extensions."""

    model: NonEmpty
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    stop: Stop | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[Annotated[int, Field(ge=0)], Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        None, json_schema_extra={"propertyNames": {"pattern": "^(0|[1-9][0-9]{0,8})$"}}
    )
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    response_format: ResponseFormat | None = None
    service_tier: str | None = Field(None, description="`flex` waits behind others, `priority`, `scale` and `fast` go before them.")
    prompt_cache_key: str | None = Field(None, description="The conversation, for cache diagnostics.")
    keep_alive: KeepAlive = None
    top_k: int | None = Field(None, ge=-1, description="Keep the k most likely tokens; 0 and -1 keep all.")
    min_p: float | None = Field(None, ge=0, le=1, description="Drop tokens less likely than this share of the most likely one.")
    repetition_penalty: float | None = Field(None, gt=0, le=10, description="Above 1 discourages what was already said.")
    ignore_eos: bool | None = Field(None, description="Go on to the token limit, past the model's own end.")
    guided_json: JsonObject | str | None = Field(None, description="As response_format json_schema, in vLLM's words.")
    guided_regex: str | None = Field(None, description="As response_format regex, in vLLM's words.")
    guided_choice: list[str] | None = Field(None, description="As response_format choice, in vLLM's words.")
    guided_grammar: str | None = Field(None, description="As response_format lark, in vLLM's words.")


class NamedBody(WireBody):
    """The name of a tool."""

    name: NonEmpty


class ToolNameBody(WireBody):
    """Which tool: by `function`, by `custom`, or by its plain name."""

    type: str | None = None
    name: str | None = None
    function: NamedBody | None = None
    custom: NamedBody | None = None


class AllowedTools(WireBody):
    """The tools that may be called, or of which one must be."""

    mode: Literal["auto", "required"] = "auto"
    tools: list[ToolNameBody]


class ToolChoiceBody(ToolNameBody):
    """A tool that must be called, or those that are allowed."""

    allowed_tools: AllowedTools | None = None


class ReasoningBody(WireBody):
    """How much the model thinks: our extension, in the words of several vendors."""

    type: Literal["enabled", "disabled", "adaptive"] | None = Field(None, description="Anthropic's word for `enabled`.")
    enabled: bool | None = None
    effort: str | None = None
    max_tokens: int | None = Field(None, ge=0, description="Most tokens of thought.")
    budget_tokens: int | None = Field(None, ge=0, description="As `max_tokens`.")
    exclude: bool | None = Field(None, description="Do not show the thoughts.")


_CALLS_FOR_TOOLS = needs("tool_choice", {"anyOf": [{"type": "object"}, {"const": "required"}]})


class ChatCompletionRequest(SamplingBody):
    """The body of POST /v1/chat/completions."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            _STREAMED,
            given("top_logprobs", needs("logprobs", {"const": True}), {"type": "number", "exclusiveMinimum": 0}),
            {"if": _CALLS_FOR_TOOLS, "then": needs("tools", _SOME)},
            given("function_call", needs("functions", _SOME), {"type": "object"}),
        )
    )

    messages: list[MessageBody] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[ToolBody] | None = None
    tool_choice: (
        Annotated[
            Annotated[Literal["none", "auto", "required"], Tag("<mode>")] | Annotated[ToolChoiceBody, Tag("<tool>")],
            union_of({str: "<mode>", dict: "<tool>"}, "'none', 'auto', 'required' or an object that names a tool"),
        ]
        | None
    ) = None
    parallel_tool_calls: bool | None = None
    functions: list[FunctionBody] | None = Field(None, description="The old form of `tools`.")
    function_call: (
        Annotated[
            Annotated[Literal["none", "auto"], Tag("<mode>")] | Annotated[NamedBody, Tag("<function>")],
            union_of({str: "<mode>", dict: "<function>"}, "'none', 'auto' or an object that names a function"),
        ]
        | None
    ) = Field(None, description="The old form of `tool_choice`.")
    modalities: list[str] | None = None
    audio: Annotated[JsonObject | None, WithJsonSchema(REFUSED)] = None
    reasoning_effort: str | None = None
    reasoning: ReasoningBody | None = None
    thinking: ReasoningBody | None = Field(None, description="As `reasoning`.")
    metadata: JsonObject | None = None
    store: bool | None = Field(None, description="Keep the answer, to be listed and retrieved until it is deleted or crowded out.")
    chat_template_kwargs: JsonObject | None = Field(None, description="Further variables for the chat template.")
    continue_final_message: bool | None = Field(None, description="Go on with the last message if it is the assistant's.")


TokenId = Annotated[int, Field(ge=0)]
TokenIds = Annotated[list[TokenId], Field(min_length=1)]


def _prompt_kind(value: object) -> str | None:
    """Which of the four forms a prompt has, by its first element."""
    if isinstance(value, str):
        return "<text>"
    if not isinstance(value, list):
        return None
    first = cast("list[object]", value)[0] if value else ""
    kinds: dict[type, str] = {str: "<texts>", int: "<ids>", float: "<ids>", list: "<lists of ids>"}
    return kinds.get(type(first))


Prompts = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[list[str], Field(min_length=1, max_length=MAX_CHOICES), Tag("<texts>")]
    | Annotated[TokenIds, Tag("<ids>")]
    | Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_CHOICES), Tag("<lists of ids>")],
    Discriminator(
        _prompt_kind,
        custom_error_type="wrong_type",
        custom_error_message="should be a string, a list of strings, a list of token ids, or a list of lists of token ids",
    ),
]


class CompletionRequest(SamplingBody):
    """The body of POST /v1/completions."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            _STREAMED,
            where("max_tokens", [0], needs("echo", {"const": True})),
        )
    )

    prompt: Prompts
    max_tokens: int | None = Field(None, ge=0, description="16 where nothing is said; 0 only with `echo`.")
    best_of: int | None = Field(None, ge=1, le=MAX_CHOICES)
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=20)
    suffix: str | None = None


class PromptDetails(WireBody):
    """Tokens of the prompts by kind."""

    cached_tokens: int
    cache_write_tokens: int
    text_tokens: int
    audio_tokens: int
    image_tokens: int


class CompletionDetails(WireBody):
    """Tokens of the answers by kind."""

    reasoning_tokens: int
    text_tokens: int
    audio_tokens: int
    accepted_prediction_tokens: int
    rejected_prediction_tokens: int


class UsageBody(WireBody):
    """Tokens of a call. A prompt counts once, however many answers it gets."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class TokenLogprob(WireBody):
    """A token, or an alternative to it."""

    token: str
    logprob: float
    bytes: list[int] | None


class ChosenLogprob(TokenLogprob):
    """A token of the answer."""

    top_logprobs: list[TokenLogprob]


class ChatLogprobs(WireBody):
    """The tokens of the content."""

    content: list[ChosenLogprob] | None
    refusal: list[ChosenLogprob] | None


class ChatMessage(WireBody):
    """What the model said. `content` is null where it only calls tools."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallBody] | None = None
    function_call: FunctionCall | None = None


class ChatChoice(WireBody):
    """One answer to a conversation."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls", "function_call"]


class AnswerBody(WireBody):
    """What whole answers have in common. `warnings` say what a person should know; it is missing where there is nothing."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    usage: UsageBody
    service_tier: str | None = None
    warnings: list[str] | None = None


class ChatCompletion(AnswerBody):
    """The answer of POST /v1/chat/completions where `stream` is not true."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    metadata: dict[str, str] | None = None


class TextLogprobs(WireBody):
    """The tokens of a text, in lists of one length."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class TextChoice(WireBody):
    """One continuation."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class Completion(AnswerBody):
    """The answer of POST /v1/completions where `stream` is not true."""

    object: Literal["text_completion"]
    choices: list[TextChoice]
