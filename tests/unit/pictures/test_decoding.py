"""Files to pixels in another process: formats, orientation, colours, bombs, damage."""

import gc
import random
import sys
import time
from collections.abc import Generator, Sequence
from typing import cast

import psutil
import pytest
from PIL import Image

from pomona.core.errors import PictureRefused
from pomona.pictures.decoding.client import Decoder
from pomona.pictures.decoding.protocol import Limits, Recipe
from tests.unit.pictures.drawing import BLUE, RED, gif_bomb, halves, packed_zeros, pdf, png, saved

LIMITS = Limits(max_pixels=1_000_000, max_pages=3, side=512)
MUTATIONS = 200


@pytest.fixture(scope="module")
def decoder() -> Generator[Decoder]:
    """One process for all, as a gateway has."""
    with Decoder(workers=1) as shared:
        yield shared


def as_is(sizes: Sequence[tuple[int, int]]) -> list[Recipe]:
    """As large as they are."""
    return [Recipe(resized=size) for size in sizes]


def decoded(decoder: Decoder, source: bytes, limits: Limits = LIMITS) -> list[Image.Image]:
    sizes: list[tuple[int, int]] = []

    def plan(found: Sequence[tuple[int, int]]) -> list[Recipe]:
        sizes.extend(found)
        return as_is(found)

    pixels = decoder.decode(source, limits, plan)
    return [Image.frombytes("RGB", size, each) for size, each in zip(sizes, pixels, strict=True)]


def refusal(decoder: Decoder, source: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(PictureRefused) as caught:
        decoded(decoder, source, limits)
    return caught.value.message


def outcome(decoder: Decoder, source: bytes) -> tuple[str, list[Image.Image]]:
    """Why `source` is refused, or what is in it."""
    try:
        return "", decoded(decoder, source)
    except PictureRefused as refused:
        return refused.message, []


def near(pixel: object, wanted: tuple[int, int, int]) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(left - right) <= 6 for left, right in zip(cast("tuple[int, ...]", pixel), wanted, strict=True))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_each_format_is_read(decoder: Decoder, kind: str) -> None:
    [image] = decoded(decoder, saved(halves(64, 32), kind))
    assert image.size == (64, 32)
    assert near(image.getpixel((2, 2)), RED if kind != "JPEG" else (254, 0, 0))
    assert near(image.getpixel((60, 2)), BLUE)


@pytest.mark.parametrize("kind", ["TIFF", "ICO", "PPM", "TGA", "EPS"])
def test_other_formats_are_refused_with_those_that_are_read(decoder: Decoder, kind: str) -> None:
    assert "JPEG, PNG, WebP, BMP, GIF" in refusal(decoder, saved(halves(64, 64), kind))


@pytest.mark.parametrize(
    ("orientation", "size", "red_at"),
    [(1, (64, 32), (2, 2)), (2, (64, 32), (60, 2)), (3, (64, 32), (60, 2)), (6, (32, 64), (2, 2)), (8, (32, 64), (2, 60))],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pictures_are_upright(decoder: Decoder, kind: str, orientation: int, size: tuple[int, int], red_at: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    [image] = decoded(decoder, saved(halves(64, 32), kind, exif=exif))
    assert image.size == size
    assert near(image.getpixel(red_at), (254, 0, 0))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_what_is_transparent_is_white(decoder: Decoder, mode: str) -> None:
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    options = {"transparency": 0} if mode == "P" else {}
    image = Image.new("P", (8, 8), 0) if mode == "P" else clear.convert("LA" if mode == "LA" else "RGBA")
    [shown] = decoded(decoder, saved(image, "PNG", **options))
    assert shown.getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize(("mode", "value", "wanted"), [("I;16", 65535, 255), ("I;16", 32896, 128), ("L", 77, 77), ("1", 1, 255)])
def test_greys_of_any_depth(decoder: Decoder, mode: str, value: int, wanted: int) -> None:
    [shown] = decoded(decoder, saved(Image.new(mode, (8, 8), value), "PNG"))
    assert shown.getpixel((4, 4)) == (wanted, wanted, wanted)


def test_printers_colours(decoder: Decoder) -> None:
    [shown] = decoded(decoder, saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    assert near(shown.getpixel((8, 8)), RED)


def test_the_first_picture_of_several_is_shown(decoder: Decoder) -> None:
    more = [Image.new("RGB", (16, 16), BLUE) for _ in range(3)]
    [shown] = decoded(decoder, saved(Image.new("RGB", (16, 16), RED), "GIF", save_all=True, append_images=more))
    assert shown.getpixel((8, 8)) == RED


def test_recipes_pad_resize_and_cut(decoder: Decoder) -> None:
    recipe = Recipe(resized=(40, 40), crop=(10, 0, 30, 40), pad_color=(9, 9, 9), resample="nearest")
    [pixels] = decoder.decode(saved(halves(64, 32), "PNG"), LIMITS, lambda _: [recipe])
    image = Image.frombytes("RGB", (20, 40), pixels)
    assert [image.getpixel(place) for place in ((1, 1), (1, 20), (19, 20), (1, 38))] == [(9, 9, 9), RED, BLUE, (9, 9, 9)]


def test_large_jpegs_are_decoded_no_larger_than_needed(decoder: Decoder) -> None:
    [pixels] = decoder.decode(saved(halves(900, 900), "JPEG"), Limits(1_000_000, 3, 56), lambda sizes: [Recipe(resized=(56, 56))])
    image = Image.frombytes("RGB", (56, 56), pixels)
    assert near(image.getpixel((5, 5)), (254, 0, 0))
    assert near(image.getpixel((50, 5)), BLUE)


def test_pages_of_a_pdf_are_pictures(decoder: Decoder) -> None:
    first, second = decoded(decoder, pdf((72, 144), (288, 48)))
    assert (first.size, second.size) == ((150, 300), (600, 100))
    assert first.getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (pdf((72, 72), (72, 72), (72, 72), (72, 72)), "is a PDF of 4 pages; at most 3"),
        (b"%PDF-1.7\nnothing", "is a damaged PDF"),
        (pdf((72, 72))[:300], "is a damaged PDF"),
    ],
)
def test_pdfs_that_are_refused(decoder: Decoder, source: bytes, words: str) -> None:
    assert words in refusal(decoder, source)


def test_a_pdf_with_a_password_is_refused(decoder: Decoder) -> None:
    locked = pdf((72, 72)).replace(b"trailer", b"trailer", 1)
    encryption = b"/Encrypt<</Filter/Standard/V 1/R 2/O<%s>/U<%s>/P -4>>/ID[<00><00>]" % (b"41" * 32, b"42" * 32)
    locked = locked.replace(b"/Root", encryption + b"/Root", 1)
    assert "asks for a password" in refusal(decoder, locked)


def test_no_pages_are_allowed_where_settings_say_so(decoder: Decoder) -> None:
    assert "none are read here" in refusal(decoder, pdf((72, 72)), Limits(1_000_000, 0, 512))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (png(50_000, 50_000, (b"IDAT", packed_zeros(10**6))), "more than 1,000,000 pixels"),
        (png(2**31 - 1, 2**31 - 1), "more than 1,000,000 pixels"),
        (png(8, 8, (b"IDAT", packed_zeros(50 * 10**6))[:2], (b"IDAT", b"x")), ""),
        (png(8, 8, (b"zTXt", b"a\0\0" + packed_zeros(200 * 10**6)), (b"IDAT", packed_zeros(200))), ""),
        (png(8, 8, (b"iCCP", b"a\0\0" + packed_zeros(200 * 10**6)), (b"IDAT", packed_zeros(200))), ""),
        (gif_bomb(65535, 65535), ""),
        (saved(halves(64, 64), "BMP")[:18] + (60_000).to_bytes(4, "little") * 2 + saved(halves(64, 64), "BMP")[26:], "more than 1,000,000"),
        (b"", "no picture that can be read"),
        (b"GIF89a", ""),
        (b"\x89PNG\r\n\x1a\n", ""),
    ],
)
def test_bombs_do_no_harm(decoder: Decoder, source: bytes, words: str) -> None:
    """Those that promise much are refused; those that hide much are refused, or cost no more than they show."""
    told, images = outcome(decoder, source)
    assert words in told
    assert [image.size for image in images] in ([], [(8, 8)])
    assert not (words and images)


def test_damaged_files_are_refused_or_read_and_never_end_the_worker(decoder: Decoder) -> None:
    """Two hundred files with bytes changed, cut out or doubled; a good one is still read in the end."""
    chance = random.Random(7)
    good = [saved(halves(64, 32), kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF")] + [pdf((72, 72), (72, 144))]
    refused = 0
    for turn in range(MUTATIONS):
        told, images = outcome(decoder, _mutated(good[turn % len(good)], chance))
        refused += bool(told)
        assert told.startswith(("is ", "has ", "makes ", "needs ")) or not told
        assert all(image.width * image.height <= LIMITS.max_pixels for image in images)
    assert refused > MUTATIONS // 3
    assert decoded(decoder, good[0])[0].size == (64, 32)


def _mutated(source: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(source)
    for _ in range(chance.randint(1, 12)):
        place = chance.randrange(len(damaged))
        match chance.randrange(4):
            case 0:
                damaged[place] = chance.randrange(256)
            case 1:
                del damaged[place : place + chance.randint(1, 40)]
            case 2:
                damaged[place:place] = damaged[place : place + chance.randint(1, 40)]
            case _:
                damaged[place : place + 4] = bytes(chance.choice(((255,) * 4, (0,) * 4, (127, 255, 255, 255))))
        if not damaged:
            return b"\0"
    return bytes(damaged)


HANGS = (sys.executable, "-c", "import sys; sys.stdin.buffer.read()")
DIES = (sys.executable, "-c", "import sys; sys.stdin.buffer.read(8)")
LIES = (sys.executable, "-c", "import sys; sys.stdin.buffer.read(8); sys.stdout.buffer.write(bytes(7) + b'\\x02hm'); sys.stdout.flush()")


@pytest.mark.parametrize(("command", "words"), [(HANGS, "longer than 0.3 seconds"), (DIES, "decoder fail"), (LIES, "decoder fail")])
def test_a_worker_that_hangs_dies_or_lies_costs_one_picture(command: tuple[str, ...], words: str) -> None:
    with Decoder(command, workers=1, seconds=0.3) as decoder:
        for _ in range(2):
            assert words in refusal(decoder, b"anything")


def test_a_worker_that_died_between_two_jobs_is_replaced_and_leaves_no_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []

    def note(found: "sys.UnraisableHookArgs") -> None:
        left.append(str(found.exc_value))

    monkeypatch.setattr(sys, "unraisablehook", note)  # files that nobody closed say so there
    before = set(psutil.Process().children())
    with Decoder(workers=1) as decoder:
        decoded(decoder, saved(halves(64, 32), "PNG"))
        [worker] = set(psutil.Process().children()) - before
        worker.kill()
        while worker.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.001)
        assert decoded(decoder, saved(halves(64, 32), "PNG"))[0].size == (64, 32)
        gc.collect()
    assert left == []


def test_a_plan_that_refuses_leaves_the_worker_as_it_was(decoder: Decoder) -> None:
    def refuse(_: Sequence[tuple[int, int]]) -> list[Recipe]:
        raise PictureRefused("is too narrow")

    with pytest.raises(PictureRefused, match="is too narrow"):
        decoder.decode(saved(halves(64, 32), "PNG"), LIMITS, refuse)
    assert decoded(decoder, saved(halves(64, 32), "PNG"))[0].size == (64, 32)
