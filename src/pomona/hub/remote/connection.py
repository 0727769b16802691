"""The hub, asked through Hugging Face's own library, so that HF_ENDPOINT, HF_TOKEN, token files and HF_HUB_OFFLINE mean what they mean
everywhere. `settings.hub` goes before them.
"""

import asyncio
import contextlib
import functools
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar, cast

import httpx
import msgspec
from huggingface_hub import constants, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.hf_api import HfApi, ModelInfo
from huggingface_hub.utils import get_token

from pomona import __version__
from pomona.core.errors import HubFailed, InvalidRequest
from pomona.core.settings import HubSettings
from pomona.hub.remote.faults import Answer, Subject, offline, pause, refusal, unreachable

Sort = Literal["downloads", "likes", "createdAt", "lastModified"]
Found = TypeVar("Found")
LARGEST_ANSWER = 2**25
# Versions 1 and 2 of the library stand on different HTTP clients (httpx, httpx2); both derive their errors from one class of theirs.
_TRANSPORT_ERROR = cast("type[Exception]", HfHubHTTPError.__mro__[1])
_EXPANDED: Any = [
    "config",
    "createdAt",
    "downloads",
    "gated",
    "gguf",
    "lastModified",
    "likes",
    "private",
    "safetensors",
    "siblings",
    "tags",
]


class HubConnection:
    """Asks the hub, patiently: what may be temporary is tried again. `sleep` waits that many seconds."""

    def __init__(self, settings: HubSettings, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.settings = settings
        self.sleep = sleep
        self._api = HfApi(endpoint=settings.endpoint, token=settings.token, library_name="pomona", library_version=__version__)
        self.endpoint: str = self._api.endpoint

    @property
    def is_offline(self) -> bool:
        """Whether settings or the environment forbid asking."""
        return self.settings.offline or bool(constants.is_offline_mode())

    def subject(self, repository: str | None = None, revision: str | None = None) -> Subject:
        """What errors are about."""
        return Subject(endpoint=self.endpoint, repository=repository, revision=revision, has_token="authorization" in self.headers())

    def headers(self) -> Mapping[str, str]:
        """What every request carries: who asks, and the token where there is one."""
        token = self.settings.token or (None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token())
        return {"user-agent": f"pomona/{__version__}", **({"authorization": f"Bearer {token}"} if token else {})}

    def file_url(self, repository: str, commit: str, name: str) -> str:
        """Where a file is downloaded from."""
        return hf_hub_url(repository, name, revision=commit, endpoint=self.endpoint)

    def client(self) -> httpx.AsyncClient:
        """For downloads. Proxies and certificates of the environment hold. The token is not sent on to other hosts. To be closed."""
        timeout, headers = httpx.Timeout(self.settings.timeout_seconds), {**self.headers(), "accept-encoding": "identity"}
        limits = httpx.Limits(max_connections=self.settings.workers + 1)
        return httpx.AsyncClient(headers=headers, timeout=timeout, limits=limits, follow_redirects=True)

    async def model_info(self, repository: str, revision: str | None = None) -> ModelInfo:
        """A repository at a revision, with sizes and checksums of its files. Raises ModelNotFound, Forbidden, HubFailed."""
        ask = functools.partial(
            self._api.model_info, repository, revision=revision, files_metadata=True, timeout=self.settings.timeout_seconds
        )
        return await self._ask(ask, self.subject(repository, revision))

    async def list_models(self, query: str, *, limit: int, sort: Sort, mlx_only: bool = False) -> list[ModelInfo]:
        """Repositories whose names hold the words of `query`. Raises HubFailed.

        Asked without the library, whose own search knows no timeout and retries on its own, with warnings on standard error.
        """
        wanted = {"search": query, "filter": "mlx" if mlx_only else ""}
        asked = {"limit": limit, "sort": sort, "expand": _EXPANDED, **{name: value for name, value in wanted.items() if value}}
        url = httpx.URL(f"{self.endpoint}/api/models", params=asked)
        content = await self._ask(functools.partial(self._get, str(url)), self.subject())
        try:
            return [ModelInfo(**document) for document in msgspec.json.decode(content, type=list[dict[str, Any]])]
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
            raise _nonsense(self.endpoint, error) from None

    async def read_config(self, repository: str, commit: str) -> Mapping[str, object]:
        """config.json of a commit; empty where it is no JSON object. Raises as `model_info`."""
        content = await self._ask(functools.partial(self._get, self.file_url(repository, commit, "config.json")), self.subject(repository))
        try:
            return msgspec.json.decode(content, type=dict[str, object])
        except msgspec.DecodeError:
            return {}

    def _get(self, url: str) -> bytes:
        """The answer, if it is not larger than a description may be."""
        options: Any = {"headers": dict(self.headers()), "timeout": self.settings.timeout_seconds, "follow_redirects": True}
        content = b""
        with httpx.stream("GET", url, **options) as response:
            response.raise_for_status()
            for piece in response.iter_bytes():
                content += piece
                if len(content) > LARGEST_ANSWER:
                    raise ValueError(f"more than {LARGEST_ANSWER:,} bytes")
        return content

    async def _ask(self, ask: Callable[[], Found], subject: Subject) -> Found:
        if self.is_offline:
            raise offline(subject)
        attempt = 0
        while True:
            try:
                return await in_thread(ask)
            except HFValidationError as error:
                raise InvalidRequest(f"{subject.repository!r} cannot be the name of a repository: {error}", param="model") from None
            except (HfHubHTTPError, httpx.HTTPStatusError) as error:
                answer = _answer(error.response)
                wait, failure = pause(attempt, answer), refusal(answer, subject)
            except OfflineModeIsEnabled:
                raise offline(subject) from None
            except (_TRANSPORT_ERROR, httpx.HTTPError) as error:
                wait, failure = pause(attempt), unreachable(error, subject)
            except (ValueError, KeyError, TypeError) as error:
                raise _nonsense(subject.endpoint, error) from None
            if wait is None or attempt >= self.settings.retries:
                raise failure
            await self.sleep(wait)
            attempt += 1


async def in_thread(work: Callable[[], Found]) -> Found:
    """`work` in a thread of its own. A cancelled caller leaves it behind: a silent hub must not hold up the end of a program."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    outcome: list[Found | Exception] = []

    def run() -> None:
        try:
            outcome.append(work())
        except Exception as error:  # noqa: BLE001 - raised again below, where the caller waits
            outcome.append(error)
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name="hub", daemon=True).start()
    await done.wait()
    (found,) = outcome
    if isinstance(found, Exception):
        raise found
    return found


def _nonsense(endpoint: str, error: Exception) -> HubFailed:
    return HubFailed(f"{endpoint} answered what the hub's protocol does not know: {error!r}. Check hub.endpoint or HF_ENDPOINT.")


def _answer(response: Any) -> Answer:
    """The same of both HTTP clients' responses."""
    return Answer(status=int(response.status_code), headers={str(name).lower(): str(value) for name, value in response.headers.items()})
