"""The bytes of a picture, wherever they are."""

import asyncio
from urllib.parse import urlsplit

from pomona.core.errors import ConfigurationError, PictureRefused
from pomona.core.messages import PicturePart
from pomona.core.settings import PicturesSettings
from pomona.pictures.sources.data_urls import read_data_url, shortened, too_large
from pomona.pictures.sources.local_files import read_file_url
from pomona.pictures.sources.networks import Guard
from pomona.pictures.sources.web import AT_ONCE, Resolve, WebSource, system_resolve

_WAYS = "Send it as data:image/png;base64,…, or as an http: or https: address"


class Loader:
    """Loads the pictures of requests, within the limits of `settings`. Works on one event loop at a time.

    Raises ConfigurationError for an entry of `pictures.fetch_private` that names nothing.
    """

    def __init__(self, settings: PicturesSettings, *, resolve: Resolve = system_resolve) -> None:
        self._settings = settings
        try:
            guard = Guard(settings.fetch_private)
        except ValueError as error:
            raise ConfigurationError(f"Setting pictures.fetch_private: {error}.") from None
        self._web = WebSource(guard, seconds=settings.fetch_seconds, max_bytes=settings.max_bytes, resolve=resolve)
        self._places = asyncio.Semaphore(AT_ONCE)

    async def load(self, part: PicturePart) -> bytes:
        """What `part` holds or leads to, neither decoded nor checked. Raises PictureRefused."""
        if part.data is not None:
            found = part.data
        elif part.url is not None:
            found = await self._from(part.url, part.param)
        else:
            raise PictureRefused(f"{part.param} holds no picture. {_WAYS}.", param=part.param)
        if len(found) > self._settings.max_bytes:
            raise too_large(self._settings.max_bytes, part.param)
        if not found:
            raise PictureRefused(f"{part.param} is empty: it has no bytes.", param=part.param)
        return found

    async def _from(self, url: str, param: str) -> bytes:
        most = self._settings.max_bytes
        scheme = url[:5].lower()
        if scheme == "data:":
            return read_data_url(url, max_bytes=most, param=param)
        if scheme == "file:":
            return await asyncio.to_thread(read_file_url, url, self._settings.folders, max_bytes=most, param=param)
        if _scheme_of(url) not in ("http", "https"):
            raise PictureRefused(f"{param} = {shortened(url)} is no address that pictures are loaded from. {_WAYS}.", param=param)
        if not self._settings.fetch:
            raise PictureRefused(
                f"{param} is an address, and this server loads nothing from other places (setting pictures.fetch). Send the picture itself "
                "as a data: address.",
                param=param,
            )
        async with self._places:
            return await self._web.load(url, param)


def _scheme_of(url: str) -> str:
    try:
        return urlsplit(url).scheme.lower()
    except ValueError:
        return ""
