"""A server's `/v1/embeddings` and `/v1/rerank` as an `Embedder` and a `Reranker`: what `embed` and `rerank` use where there is one."""

import base64
from typing import Any, cast

import httpx

from pomona.core.errors import EngineFailed, NotReady
from pomona.core.status import Task
from pomona.core.vectors import Embeddings, EmbedRequest, Ranking, RerankRequest
from pomona.ops.remote import TIMEOUT
from pomona.ops.remote_answer import error_from

Json = dict[str, Any]
_FLOAT_BYTES = 4


class RemoteVectors:
    """The server at `url`. Raises PomonaError of the class that the server named, NotReady when there is none."""

    def __init__(self, url: str, *, client: httpx.AsyncClient) -> None:
        self._url = url.rstrip("/")
        self._client = client

    async def tasks(self) -> dict[str, Task]:
        """What each of its models does, the default one first."""
        listed = await self._ask("GET", "/v1/models")
        return {str(each["id"]): cast("Task", each.get("task", "generate")) for each in listed["data"]}

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """One vector per input."""
        body: Json = {"model": request.model, "input": list(request.inputs), "encoding_format": "base64", "truncate": request.truncate}
        chosen = {"input_type": request.kind, "dimensions": request.dimensions}
        answer = await self._ask("POST", "/v1/embeddings", body | {key: value for key, value in chosen.items() if value is not None})
        rows = [base64.b64decode(each["embedding"]) for each in sorted(answer["data"], key=lambda each: each["index"])]
        return Embeddings(data=b"".join(rows), dimensions=len(rows[0]) // _FLOAT_BYTES, prompt_tokens=int(answer["usage"]["prompt_tokens"]))

    async def rerank(self, request: RerankRequest) -> Ranking:
        """One score per document."""
        body: Json = {"model": request.model, "query": request.query, "documents": list(request.documents), "truncate": request.truncate}
        chosen = {"instruction": request.instruction, "max_tokens_per_doc": request.max_document_tokens}
        answer = await self._ask("POST", "/v1/rerank", body | {key: value for key, value in chosen.items() if value is not None})
        scores = {each["index"]: float(each["relevance_score"]) for each in answer["results"]}
        return Ranking(
            scores=tuple(scores[index] for index in range(len(request.documents))), prompt_tokens=int(answer["usage"]["prompt_tokens"])
        )

    async def _ask(self, method: str, path: str, body: Json | None = None) -> Json:
        try:
            response = await self._client.request(method, self._url + path, json=body, timeout=TIMEOUT)
        except httpx.ConnectError:
            raise NotReady(f"No server answers at {self._url}. Start one with `pomona serve`.") from None
        except httpx.HTTPError as error:
            raise EngineFailed(f"The connection to {self._url} broke: {error or type(error).__name__}. Try again.") from None
        if response.status_code != 200:
            raise error_from(response.content, response.status_code)
        return cast("Json", response.json())
