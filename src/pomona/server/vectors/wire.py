"""The bodies and answers of /v1/embeddings and /v1/rerank."""

from typing import Annotated, Literal, cast

from pydantic import Discriminator, Field, Tag

from pomona.server.bodies import KeepAlive, WireBody
from pomona.server.openai.wire import NonEmpty, union_of

TokenId = Annotated[int, Field(ge=0)]
TokenIds = Annotated[list[TokenId], Field(min_length=1)]
InputType = Literal["query", "document", "search_query", "search_document", "passage"]


def _input_kind(value: object) -> str | None:
    """By the first item, so that errors speak of one form only."""
    if isinstance(value, str):
        return "<text>"
    if not isinstance(value, list):
        return None
    first = cast("list[object]", value)[0] if value else ""
    if isinstance(first, list):
        return "<lists of ids>"
    return "<texts>" if isinstance(first, str) else "<ids>"


Inputs = Annotated[
    Annotated[NonEmpty, Tag("<text>")]
    | Annotated[list[NonEmpty], Field(min_length=1), Tag("<texts>")]
    | Annotated[TokenIds, Tag("<ids>")]
    | Annotated[list[TokenIds], Field(min_length=1), Tag("<lists of ids>")],
    Discriminator(
        _input_kind,
        custom_error_type="wrong_type",
        custom_error_message="should be a string, a list of strings, a list of token ids, or a list of lists of token ids",
    ),
]


class DocumentText(WireBody):
    """A document as an object."""

    text: str


Document = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[DocumentText, Tag("<object>")],
    union_of({str: "<text>", dict: "<object>"}, "a string or an object with the field text"),
]


class EmbeddingRequest(WireBody):
    """The body of POST /v1/embeddings. `input` is a text, a list of them, the ids of one, or a list of those."""

    model: NonEmpty
    input: Inputs
    encoding_format: Literal["float", "base64"] | None = Field(None, description="base64: float32 numbers, little-endian.")
    dimensions: int | None = Field(None, ge=1, description="Only the first so many, of length 1 again; for models trained so (Matryoshka).")
    user: str | None = None
    input_type: InputType | None = Field(
        None, description="What the texts are: models that were trained with an instruction for that get it. Unset: no instruction."
    )
    truncate: bool | None = Field(None, description="Cut texts that are longer than the model takes, instead of refusing them.")
    keep_alive: KeepAlive = None


class Embedding(WireBody):
    """One vector."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class TokenUsage(WireBody):
    """Tokens of the inputs, those that the model adds included."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(WireBody):
    """The answer of POST /v1/embeddings, in the order of the inputs."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: TokenUsage


class RerankBody(WireBody):
    """The body of POST /v1/rerank, as Cohere and Jina have it."""

    model: NonEmpty
    query: NonEmpty
    documents: Annotated[list[Document], Field(min_length=1)]
    top_n: int | None = Field(None, ge=1, description="Only the best so many. Unset: all.")
    return_documents: bool | None = Field(None, description="Give the documents back.")
    max_tokens_per_doc: int | None = Field(None, ge=1, description="Cut documents behind so many tokens. Unset: as the model takes.")
    truncate: bool | None = Field(None, description="Cut pairs that are longer than the model takes; true where nothing is said.")
    instruction: str | None = Field(None, description="What relevance means, for models that take it in words (Qwen3-Reranker).")
    keep_alive: KeepAlive = None


class RankedDocument(WireBody):
    """One document. `relevance_score` is between 0 and 1."""

    index: int
    relevance_score: float
    document: DocumentText | None = None


class SearchUnits(WireBody):
    """What Cohere bills: one for each request here."""

    search_units: int


class InputTokens(WireBody):
    """Tokens of all pairs."""

    input_tokens: int


class RerankMeta(WireBody):
    """Cohere's word on what was used."""

    billed_units: SearchUnits
    tokens: InputTokens


class Reranked(WireBody):
    """The answer of POST /v1/rerank, the most relevant document first."""

    id: str
    object: Literal["list"]
    model: str
    results: list[RankedDocument]
    meta: RerankMeta
    usage: TokenUsage
