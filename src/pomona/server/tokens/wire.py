"""The bodies and answers of /tokenize, /detokenize and /apply-template."""

from typing import Annotated, Any, Literal

from pydantic import Field

from pomona.server.bodies import WireBody
from pomona.server.openai.wire import MessageBody, NonEmpty, ReasoningBody, ToolBody

ModelName = Annotated[NonEmpty | None, Field(description="The default model where nothing is said.")]


class TemplateBody(WireBody):
    """What shapes the prompt of a conversation; fields as in /v1/chat/completions."""

    model: ModelName = None
    tools: list[ToolBody] | None = None
    reasoning_effort: str | None = None
    reasoning: ReasoningBody | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: Literal[True] | None = Field(None, description="Prompts always end where the answer begins.")


class TokenizeRequest(TemplateBody):
    """The body of POST /tokenize: `messages`, else `prompt` (vLLM), else `content` (llama.cpp), else nothing at all."""

    prompt: str | None = None
    content: str | None = None
    messages: list[MessageBody] | None = Field(None, min_length=1)
    add_special_tokens: bool | None = Field(None, description="Begin as the model expects it. True for `prompt` where nothing is said.")
    add_special: bool | None = Field(None, description="As add_special_tokens; false for `content` where nothing is said.")
    return_token_strs: bool | None = Field(None, description="Give `token_strs`, the text of each token.")
    with_pieces: bool | None = Field(None, description="Give `tokens` as objects of id and piece: text, or bytes where it is none.")


class TokenPiece(WireBody):
    """A token and its text; bytes where it is not UTF-8 by itself."""

    id: int
    piece: str | list[int]


class Tokenized(WireBody):
    """The answer of POST /tokenize."""

    count: int
    max_model_len: int | None
    tokens: list[int] | list[TokenPiece]
    token_strs: list[str] | None


class DetokenizeRequest(WireBody):
    """The body of POST /detokenize."""

    model: ModelName = None
    tokens: list[Annotated[int, Field(ge=0)]]


class Detokenized(WireBody):
    """The answer of POST /detokenize: the same text under vLLM's name and llama.cpp's."""

    prompt: str
    content: str


class ApplyTemplateRequest(TemplateBody):
    """The body of POST /apply-template."""

    messages: list[MessageBody] = Field(min_length=1)


class TemplateApplied(WireBody):
    """The answer of POST /apply-template."""

    prompt: str
    count: int
    max_model_len: int | None
