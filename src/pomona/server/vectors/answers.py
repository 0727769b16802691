"""What /v1/embeddings and /v1/rerank answer, as JSON."""

import base64
import struct
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from pomona.core.vectors import Embeddings, Ranking

_FLOAT_BYTES = 4
Document = dict[str, object]


def embeddings_document(made: Embeddings, model: str, form: Literal["float", "base64"]) -> bytes:
    """The vectors as OpenAI lists them."""
    write = _as_base64 if form == "base64" else _as_floats
    data = [{"object": "embedding", "index": index, "embedding": write(row)} for index, row in enumerate(_rows(made))]
    return msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": _usage(made.prompt_tokens)})


def rerank_document(ranking: Ranking, call_id: str, model: str, top_n: int | None, documents: Sequence[str] | None) -> bytes:
    """The best `top_n` documents, most relevant first, equal ones in the order of the request; with their texts if `documents` is given."""
    order = ranking.order()[:top_n]
    results: list[Document] = [{"index": index, "relevance_score": ranking.scores[index]} for index in order]
    if documents is not None:
        results = [{**each, "document": {"text": documents[index]}} for each, index in zip(results, order, strict=True)]
    meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}, "tokens": {"input_tokens": ranking.prompt_tokens}}
    document = {"id": call_id, "object": "list", "model": model, "results": results, "meta": meta, "usage": _usage(ranking.prompt_tokens)}
    return msgspec.json.encode(document)


def _rows(made: Embeddings) -> Iterator[bytes]:
    width = made.dimensions * _FLOAT_BYTES
    return (made.data[start : start + width] for start in range(0, len(made.data), width))


def _as_floats(row: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(row) // _FLOAT_BYTES}f", row))


def _as_base64(row: bytes) -> str:
    return base64.b64encode(row).decode("ascii")


def _usage(tokens: int) -> Document:
    return {"prompt_tokens": tokens, "total_tokens": tokens}
