"""Pictures at addresses: what is loaded, what is refused, and that nobody can make the server ask elsewhere."""

import base64
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from pomona.core.errors import ConfigurationError, PictureRefused
from pomona.core.messages import PicturePart
from pomona.core.settings import PicturesSettings
from pomona.pictures.sources.loading import Loader
from tests.unit.pictures.hostile import HostileServer, Names

BODY = b"picture bytes"
LOCAL = ["127.0.0.1"]
PUBLIC = ["93.184.216.34"]


def loader(names: Names | None = None, **settings: Any) -> Loader:
    settings = {"fetch_private": ("friend", "10.0.0.0/8"), "fetch_seconds": 5.0} | settings
    return Loader(PicturesSettings.model_validate(settings), resolve=(names or Names({})).resolve)


async def refusal(load: Loader, url: str) -> str:
    with pytest.raises(PictureRefused) as caught:
        await load.load(PicturePart(url=url, param="messages[0].content[1].image_url"))
    assert caught.value.param is not None
    assert caught.value.param.startswith("messages[0].content[1].image_url")
    assert caught.value.message.startswith("messages[0].content[1].image_url")
    return caught.value.message


async def test_a_picture_is_loaded_from_exactly_the_address_that_was_checked() -> None:
    names = Names({"friend": [LOCAL, PUBLIC]})
    async with HostileServer({"/a.png?b=%20": BODY}).running() as server:
        assert await loader(names).load(PicturePart(url=f"http://friend:{server.port}/a.png?b=%20")) == BODY
    assert names.asked == ["friend"]
    assert f"host: friend:{server.port}" in server.heads[0].lower()
    assert "accept-encoding: identity" in server.heads[0].lower()


async def test_a_name_that_is_private_the_second_time_is_not_asked_a_second_time() -> None:
    """DNS rebinding: the address that was checked is the one that is connected to, so the private answer is never used."""
    names = Names({"rebinding.example": [["192.0.2.1"], LOCAL]})
    async with HostileServer({"/a.png": BODY}).running() as server:
        url = f"http://rebinding.example:{server.port}/a.png"
        assert "not of the public internet" in await refusal(loader(names), url)
        assert names.asked == ["rebinding.example"]
    assert server.heads == []


async def test_one_private_address_among_public_ones_refuses_the_name() -> None:
    names = Names({"mixed.example": [[*PUBLIC, *LOCAL]]})
    assert "not of the public internet" in await refusal(loader(names), "http://mixed.example/a.png")


@pytest.mark.parametrize("place", ["127.0.0.1", "[::1]", "inside.example", "2130706433", "0x7f.1", "169.254.169.254"])
async def test_redirects_are_checked_like_addresses(place: str) -> None:
    inside = {name: [LOCAL] for name in ("inside.example", "2130706433", "0x7f.1", "127.0.0.1")}
    names = Names({"friend": [LOCAL], "::1": [["::1"]], "169.254.169.254": [["169.254.169.254"]], **inside})
    async with HostileServer({"/secret": BODY}).running() as server:
        message = await refusal(loader(names), f"http://friend:{server.port}/to/http://{place}:{server.port}/secret")
    assert "must not be loaded from" in message
    assert len(server.heads) == 1


async def test_redirects_within_bounds_are_followed() -> None:
    names = Names({"friend": [LOCAL]})
    async with HostileServer({"/a.png": BODY}).running() as server:
        assert await loader(names).load(PicturePart(url=f"http://friend:{server.port}/to//to//a.png")) == BODY
        assert "leads on more than 3 times" in await refusal(loader(names), f"http://friend:{server.port}/loop")
        for scheme in ("file:///etc/passwd", "gopher://friend/", "ftp://friend/a"):
            assert "no http: or https: address" in await refusal(loader(names), f"http://friend:{server.port}/to/{scheme}")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/page", "is 'text/html', no picture"),
        ("/gzip", "packed as 'gzip'"),
        ("/huge", "more than 65,536 bytes"),
        ("/endless", "more than 65,536 bytes"),
        ("/none", "status 404"),
        ("/empty", "is empty"),
    ],
)
async def test_bodies_that_are_refused(path: str, words: str) -> None:
    async with HostileServer({"/empty": b""}).running() as server:
        load = loader(Names({"friend": [LOCAL]}), max_bytes=65536)
        assert words in await refusal(load, f"http://friend:{server.port}{path}")


async def test_a_slow_server_is_left() -> None:
    async with HostileServer({}).running() as server:
        load = loader(Names({"friend": [LOCAL]}), fetch_seconds=0.1)
        assert "took longer than 0.1 seconds" in await refusal(load, f"http://friend:{server.port}/drip")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://user:secret@friend/a.png", "a user name or password"),
        ("http:///a.png", "no http: or https: address of a host"),
        ("http://nowhere.example/a.png", "no such host"),
        ("http://[::1/a.png", "address"),
        ("ftp://friend/a.png", "no address that pictures are loaded from"),
        ("/home/me/a.png", "no address that pictures are loaded from"),
        ("iVBORw0KGgo=", "no address that pictures are loaded from"),
        ("file:///etc/passwd", "this server reads no files"),
        ("data:image/png;base64", "has no comma"),
        ("data:image/png;base64,%%%", "not base64"),
        ("data:image/png;base64,AAA*", "not base64"),
        ("data:image/png;base64,", "is empty"),
        ("", "no address that pictures are loaded from"),
    ],
)
async def test_addresses_that_are_refused(url: str, words: str) -> None:
    message = await refusal(loader(), url)
    assert words in message
    assert "secret" not in message or "user:" in url


async def test_nothing_is_fetched_where_settings_forbid_it() -> None:
    assert "loads nothing from other places" in await refusal(loader(fetch=False), "https://example.com/a.png")


@pytest.mark.parametrize(
    "text",
    [base64.b64encode(BODY).decode(), base64.b64encode(BODY).decode().rstrip("="), "cGljdHVyZSBi\neXRlcw%3D%3D"],
)
async def test_data_addresses_carry_the_picture(text: str) -> None:
    assert await loader().load(PicturePart(url=f"DATA:image/png;base64,{text}")) == BODY
    assert await loader().load(PicturePart(url="data:,picture%20bytes")) == BODY


async def test_a_picture_of_too_many_bytes_is_refused_however_it_comes() -> None:
    load = loader(max_bytes=1024)
    many = base64.b64encode(bytes(2000)).decode()
    for part in (PicturePart(data=bytes(1025), param="p"), PicturePart(url=f"data:;base64,{many}", param="p")):
        with pytest.raises(PictureRefused, match=r"more than 1,024 bytes.*pictures\.max_bytes"):
            await load.load(part)


async def test_files_are_read_only_from_the_folders_of_the_settings(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "a b.png").write_bytes(BODY)
    (outside / "secret.png").write_bytes(b"secret")
    (inside / "link.png").symlink_to(outside / "secret.png")
    (inside / "within.png").symlink_to(inside / "a b.png")
    os.mkfifo(inside / "pipe.png")
    assert stat.S_ISFIFO((inside / "pipe.png").stat().st_mode)
    load = loader(folders=(inside,))
    for url in (f"file://{inside}/a%20b.png", f"file://localhost{inside}/within.png"):
        assert await load.load(PicturePart(url=url)) == BODY
    for place in ("link.png", "pipe.png", "../outside/secret.png", "%2e%2e/outside/secret.png", "", "none.png", "a%00b"):
        assert "names no file that may be read" in await refusal(load, f"file://{inside}/{place}")
    assert "names the host" in await refusal(load, f"file://other{inside}/a%20b.png")


def test_a_setting_that_names_nothing_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigurationError, match=r"pictures\.fetch_private.*'10\.0\.0\.0/99'"):
        loader(fetch_private=("10.0.0.0/99",))
