"""Pictures on the command line and in the chat, against a server with a double behind it."""

import json
from pathlib import Path

import pytest

from pomona.cli.pictures import dropped_pictures, picture_from
from pomona.core.errors import InvalidRequest
from pomona.core.messages import PicturePart, TextPart
from tests.api.gateway import Gateway
from tests.cli.conftest import Pomona

DATA = b"\x89PNG picture"
URL = "data:image/*;base64,iVBORyBwaWN0dXJl"
WEB = "https://example.com/a.png"


@pytest.fixture
def seen(gateway: Gateway) -> Gateway:
    """The double's models see."""
    from dataclasses import replace

    gateway.directory.cards = [replace(card, vision=True) for card in gateway.directory.cards]
    return gateway


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my picture.png"
    path.write_bytes(DATA)
    return path


def said(gateway: Gateway) -> list[list[str]]:
    """The parts of each message of the last request."""
    messages = gateway.generator.seen[-1].messages or ()
    return [[part.text if isinstance(part, TextPart) else str(getattr(part, "url", "")) for part in each.content] for each in messages]


def test_generate_shows_pictures(pomona: Pomona, seen: Gateway, file: Path) -> None:
    result = pomona("generate", "--url", seen.urls.public, "--image", str(file), "--image", WEB, "What is it?")
    assert (result.exit_code, result.stdout) == (0, "Hello world\n")
    assert said(seen) == [[URL, WEB, "What is it?"]]


def test_a_picture_that_is_not_there_is_told_before_anything_is_asked(pomona: Pomona, seen: Gateway, tmp_path: Path) -> None:
    result = pomona("generate", "--url", seen.urls.public, "--image", str(tmp_path / "none.png"), "Hi")
    assert result.exit_code != 0
    assert "none.png': No such file" in result.stderr
    assert seen.generator.seen == []


def test_raw_prompts_have_no_place_for_pictures(pomona: Pomona, seen: Gateway, file: Path) -> None:
    result = pomona("generate", "--url", seen.urls.public, "--raw", "--image", str(file), "Hi")
    assert (result.exit_code, "--image needs the chat template" in result.stderr) == (2, True)


def test_chat_shows_pictures_with_the_next_message_and_keeps_them(pomona: Pomona, seen: Gateway, file: Path) -> None:
    lines = [f"/image {file}", "What is it?", f"/image {WEB}", "/image", "/image none", "And?", "/save talk.json"]
    told = pomona("chat", "--url", seen.urls.public, stdin="\n".join(lines) + "\n").stderr
    assert f"With the next message: {WEB}" in told
    assert said(seen) == [[URL, "What is it?"], ["Hello world"], ["And?"]]


def test_a_file_dropped_on_the_terminal_is_shown(pomona: Pomona, seen: Gateway, file: Path) -> None:
    dropped = str(file).replace(" ", "\\ ")
    pomona("chat", "--url", seen.urls.public, stdin=f"What is {dropped} ?\n")
    assert said(seen) == [[URL, "What is  ?"]]
    pomona("chat", "--url", seen.urls.public, stdin=f"'{file}'\nAnd this?\n")
    assert said(seen) == [[URL, "And this?"]]


def test_a_talk_with_pictures_is_saved_and_loaded(pomona: Pomona, seen: Gateway, home: Path, file: Path) -> None:
    pomona("chat", "--url", seen.urls.public, stdin=f"/image {file}\nLook\n/save talk.json\n")
    saved = json.loads((home / "talk.json").read_text(encoding="utf-8"))["messages"][0]["content"]
    assert saved == [{"type": "image_url", "image_url": {"url": URL}}, {"type": "text", "text": "Look"}]
    pomona("chat", "--url", seen.urls.public, stdin="/load talk.json\nAgain\n")
    assert said(seen) == [[URL, "Look"], ["Hello world"], ["Again"]]


@pytest.mark.parametrize("line", ["/none.png", "see a.png", "/tmp", "/help", "it's 'quoted", "\\", "/etc/passwd", ""])
def test_other_lines_are_left_as_they_are(line: str) -> None:
    assert dropped_pictures(line) == (line, [])


def test_ways_to_name_a_picture(file: Path) -> None:
    for text in (str(file), file.as_uri()):
        assert picture_from(text).data == DATA
        assert dropped_pictures(f'"{text}" please')[0] == "please"
    assert picture_from(WEB) == PicturePart(url=WEB, param=WEB)
    with pytest.raises(InvalidRequest, match="Cannot read the picture"):
        picture_from(str(file.parent))
