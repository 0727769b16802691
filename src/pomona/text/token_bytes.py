"""How a vocabulary spells bytes: byte-level BPE (GPT-2's printable stand-ins) or sentencepiece (`▁` and `<0xE2>`)."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
SPACE_MARK = "▁"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """The bytes of each token. Texts of vocabularies that have one are their tokens' bytes joined and read as UTF-8."""

    spell: Callable[[str], bytes]
    strips_leading_space: bool = False
    """Sentencepiece writes a space before the first word; a text that stands alone loses it again."""


def find_spelling(decoder_state: bytes | None) -> Spelling | None:
    """The spelling behind a `tokenizers` decoder, given as its JSON state; None where tokens have no bytes of their own."""
    if decoder_state is None:
        return None
    steps = _steps(cast("Mapping[str, object]", json.loads(decoder_state)))
    kinds = [str(step.get("type")) for step in steps]
    if kinds == ["ByteLevel"]:
        return Spelling(spell=spell_byte_level)
    if kinds[:3] == ["Replace", "ByteFallback", "Fuse"] and _replaces_space_mark(steps[0]):
        if len(steps) == 3:
            return Spelling(spell=spell_sentencepiece)
        if len(steps) == 4 and _strips_one_space(steps[3]):
            return Spelling(spell=spell_sentencepiece, strips_leading_space=True)
    return None


def spell_byte_level(token: str) -> bytes:
    """Each character stands for a byte; a token with any other character (an added one) stands for itself."""
    try:
        return bytes(STAND_INS[character] for character in token)
    except KeyError:
        return token.encode("utf-8", "replace")


def spell_sentencepiece(token: str) -> bytes:
    """`<0xE2>` is a byte, `▁` a space."""
    found = BYTE_TOKEN.fullmatch(token)
    if found:
        return bytes([int(found[1], 16)])
    return token.replace(SPACE_MARK, " ").encode("utf-8", "replace")


def _stand_ins() -> dict[str, int]:
    """Printable Latin-1 characters stand for themselves, the other bytes for U+0100 onwards (GPT-2's `bytes_to_unicode`)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}


def _steps(decoder: Mapping[str, object]) -> list[Mapping[str, object]]:
    if decoder.get("type") == "Sequence":
        return cast("list[Mapping[str, object]]", decoder["decoders"])
    return [decoder]


def _replaces_space_mark(step: Mapping[str, object]) -> bool:
    return step.get("pattern") == {"String": SPACE_MARK} and step.get("content") == " "


def _strips_one_space(step: Mapping[str, object]) -> bool:
    return (step.get("type"), step.get("content"), step.get("start"), step.get("stop")) == ("Strip", " ", 1, 0)


STAND_INS = _stand_ins()
