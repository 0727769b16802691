"""The bodies of OpenAI's chat completions and completions (SDK 3.52), and our extensions to them.

Every optional field takes null as absent. Fields that are not listed are accepted and ignored; listed ones that cannot be honoured
are refused in `decode.py`.
"""

from typing import Annotated, Any, Literal, cast

from pydantic import ConfigDict, Discriminator, Field, Tag

from pomona.server.bodies import WireBody

MAX_CHOICES = 128
MAX_STOPS = 16
Role = Literal["developer", "system", "user", "assistant", "tool", "function"]
JsonObject = dict[str, Any]


def _union(names: dict[type, str], allowed: str) -> Discriminator:
    """Choose the member of a union by the JSON type, so that errors speak of one member only."""

    def choose(value: object) -> str | None:
        return names.get(type(value))

    return Discriminator(choose, custom_error_type="wrong_type", custom_error_message=f"should be {allowed}")


class ContentPart(WireBody):
    """A part of a message's content."""

    type: str
    text: str | None = None
    refusal: str | None = None


Content = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[list[ContentPart], Tag("<parts>")],
    _union({str: "<text>", list: "<parts>"}, "a string or a list of content parts"),
]
NonEmpty = Annotated[str, Field(min_length=1)]
Stop = Annotated[
    Annotated[NonEmpty, Tag("<one>")] | Annotated[list[NonEmpty], Field(max_length=MAX_STOPS), Tag("<several>")],
    _union({str: "<one>", list: "<several>"}, f"a string or a list of up to {MAX_STOPS} strings"),
]


class FunctionCall(WireBody):
    """Name and arguments (JSON text) of a call."""

    name: str
    arguments: str


class ToolCallBody(WireBody):
    """A call in an earlier assistant message."""

    id: str
    type: str = "function"
    function: FunctionCall | None = None


class MessageBody(WireBody):
    """One turn. Further keys, such as `reasoning_content`, are handed to the chat template."""

    model_config = ConfigDict(extra="allow")

    role: Role
    content: Content | None = None
    name: str | None = None
    tool_calls: list[ToolCallBody] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCall | None = None


class FunctionBody(WireBody):
    """A function that the model may call."""

    name: NonEmpty
    description: str | None = None
    parameters: JsonObject | None = None


class ToolBody(WireBody):
    """A tool that the model may use."""

    type: str
    function: FunctionBody | None = None


class StreamOptions(WireBody):
    """How a stream is sent."""

    include_usage: bool | None = None


class ResponseFormat(WireBody):
    """The form that the answer must have."""

    type: str


class SamplingBody(WireBody):
    """What chat completions and completions have in common; `top_k` to `ignore_eos` are extensions."""

    model: NonEmpty
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    max_tokens: int | None = Field(None, ge=1)
    stop: Stop | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[Annotated[int, Field(ge=0)], Annotated[float, Field(ge=-100, le=100)]] | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    top_k: int | None = Field(None, ge=-1, description="Keep the k most likely tokens; 0 and -1 keep all.")
    min_p: float | None = Field(None, ge=0, le=1, description="Drop tokens less likely than this share of the most likely one.")
    repetition_penalty: float | None = Field(None, gt=0, le=10, description="Above 1 discourages what was already said.")
    ignore_eos: bool | None = Field(None, description="Go on to the token limit, past the model's own end.")


class ChatCompletionRequest(SamplingBody):
    """The body of POST /v1/chat/completions."""

    messages: list[MessageBody] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[ToolBody] | None = None
    tool_choice: (
        Annotated[
            Annotated[Literal["none", "auto", "required"], Tag("<mode>")] | Annotated[JsonObject, Tag("<tool>")],
            _union({str: "<mode>", dict: "<tool>"}, "'none', 'auto', 'required' or an object that names a tool"),
        ]
        | None
    ) = None
    functions: list[FunctionBody] | None = None
    response_format: ResponseFormat | None = None
    modalities: list[str] | None = None
    audio: JsonObject | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: JsonObject | None = Field(None, description="Further variables for the chat template.")
    continue_final_message: bool | None = Field(None, description="Go on with the last assistant message rather than answer it.")


TokenId = Annotated[int, Field(ge=0)]
TokenIds = Annotated[list[TokenId], Field(min_length=1)]


def _prompt_kind(value: object) -> str | None:
    """Which of the four forms a prompt has, by its first element."""
    if isinstance(value, str):
        return "<text>"
    if not isinstance(value, list):
        return None
    first = cast("list[object]", value)[0] if value else ""
    kinds: dict[type, str] = {str: "<texts>", int: "<ids>", list: "<lists of ids>"}
    return kinds.get(type(first))


Prompts = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[list[str], Field(min_length=1, max_length=MAX_CHOICES), Tag("<texts>")]
    | Annotated[TokenIds, Tag("<ids>")]
    | Annotated[list[TokenIds], Field(max_length=MAX_CHOICES), Tag("<lists of ids>")],
    Discriminator(
        _prompt_kind,
        custom_error_type="wrong_type",
        custom_error_message="should be a string, a list of strings, a list of token ids, or a list of lists of token ids",
    ),
]


class CompletionRequest(SamplingBody):
    """The body of POST /v1/completions."""

    prompt: Prompts
    best_of: int | None = Field(None, ge=1, le=MAX_CHOICES)
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=20)
    suffix: str | None = None
