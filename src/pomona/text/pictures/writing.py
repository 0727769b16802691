"""How a model's prompts speak of pictures: what a template writes for one, what takes its place, and why a person's words never do.

In a conversation each picture is a mark (`marks.py`). The template writes a placeholder for each mark that became a part of its own;
those are turned back into marks, all marks into what is tokenised, and the ids of that into those that stand for the pictures.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from pomona.core.errors import InvalidRequest
from pomona.core.generation import PromptPicture
from pomona.core.messages import PreparedPicture
from pomona.text.pictures.marks import MARK, marks_in
from pomona.text.tokenizer import Tokenizer

GUARD = "\ufdd1"
"""Stands within words of a request that mean a picture to the tokenizer: the text is tokenised in pieces there, so they stay words."""
_ALONE = {"<|image_pad|>": "<|vision_start|><|image_pad|><|vision_end|>", "<image>": "<image>\n"}
"""How Qwen-VL and LLaVA have learnt to see a picture among text, where their template does not write it so."""
_MEANS_PICTURES = re.compile(r"image|img|vision|video|patch", re.IGNORECASE)


@dataclass(frozen=True)
class PictureWriting:
    """How one model's prompts speak of pictures. Templates write `placeholder`; `surrounded` is what is tokenised in its place, and
    makes one `placeholder_id`. `alone` is how a picture is written where a template takes only strings.
    """

    placeholder: str
    surrounded: str
    placeholder_id: int
    alone: str
    reserved: tuple[str, ...]
    """Words that mean pictures to the tokenizer."""

    def guarded(self, value: object) -> object:
        """`value`, as a template is given it, with GUARD in all words that mean a picture."""
        if isinstance(value, str):
            return self._reserved.sub(_split, value)
        if isinstance(value, Mapping):
            return {self.guarded(key): self.guarded(each) for key, each in cast("Mapping[object, object]", value).items()}
        if isinstance(value, list | tuple):
            return [self.guarded(each) for each in cast("Sequence[object]", value)]
        return value

    def with_marks(self, rendered: str, parts: Sequence[str]) -> str:
        """`rendered` with the marks of `parts` in place of what the template wrote for them. Raises InvalidRequest where it did not."""
        if rendered.count(self.placeholder) != len(parts):
            raise InvalidRequest(
                f"The model's chat template shows {rendered.count(self.placeholder)} of {len(parts)} pictures, so the model would see "
                f"another conversation. Put pictures into messages of the user, and do not write {self.placeholder!r} in pieces.",
                param="messages",
            )
        before, *behind = rendered.split(self.placeholder)
        with_wrapping = MARK.sub(lambda mark: self.alone.replace(self.placeholder, mark[0]), before)
        for mark, text in zip(parts, behind, strict=True):
            with_wrapping += mark + MARK.sub(lambda found: self.alone.replace(self.placeholder, found[0]), text)
        return with_wrapping

    def shown(self, text: str) -> str:
        """A text with marks as the template wrote it."""
        return MARK.sub(lambda _: self.placeholder, text).replace(GUARD, "")

    def encode(
        self, text: str, pictures: Sequence[PreparedPicture], tokenizer: Tokenizer
    ) -> tuple[tuple[int, ...], tuple[PromptPicture, ...]]:
        """Ids of a text with marks, and where its pictures are among them. Raises InvalidRequest where a picture has no place."""
        ids = self._ids(MARK.sub(lambda _: self.surrounded, text), tokenizer)
        order = marks_in(text)
        if ids.count(self.placeholder_id) != len(order) or sorted(order) != list(range(len(pictures))):
            raise InvalidRequest(
                f"The prompt has {ids.count(self.placeholder_id)} places for {len(pictures)} pictures. Another chat template is needed "
                "(setting models.chat_template).",
                param="messages",
            )
        return _expanded(ids, self.placeholder_id, iter(pictures[index] for index in order))

    @cached_property
    def _reserved(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, sorted(self.reserved, key=len, reverse=True))))

    def _ids(self, text: str, tokenizer: Tokenizer) -> list[int]:
        first, *rest = text.split(GUARD)
        ids = tokenizer.encode_chat(first)
        for piece in rest:
            ids += tokenizer.encode(piece, add_special_tokens=False)
        return ids


def picture_writing(tokenizer: Tokenizer, placeholder: str, surrounded: str, placeholder_id: int) -> PictureWriting:
    """How the model of `tokenizer` speaks of pictures, whose templates write `placeholder`."""
    texts = {text for text in tokenizer.special_tokens if _MEANS_PICTURES.search(text)}
    alone = _ALONE.get(placeholder, placeholder)
    reserved = tuple(sorted(texts | {placeholder, tokenizer.token_text(placeholder_id)}))
    return PictureWriting(placeholder=placeholder, surrounded=surrounded, placeholder_id=placeholder_id, alone=alone, reserved=reserved)


def _split(match: re.Match[str]) -> str:
    text = match[0]
    return f"{text[: len(text) // 2]}{GUARD}{text[len(text) // 2 :]}"


def _expanded(
    ids: Sequence[int], placeholder_id: int, pictures: Iterator[PreparedPicture]
) -> tuple[tuple[int, ...], tuple[PromptPicture, ...]]:
    expanded: list[int] = []
    placed: list[PromptPicture] = []
    for token_id in ids:
        if token_id != placeholder_id:
            expanded.append(token_id)
            continue
        picture = next(pictures)
        placed.append(_placed(picture, len(expanded)))
        expanded += picture.token_ids
    return tuple(expanded), tuple(placed)


def _placed(picture: PreparedPicture, start: int) -> PromptPicture:
    return PromptPicture(
        start=start,
        length=len(picture.token_ids),
        digest=picture.digest,
        pixels=picture.pixels,
        height=picture.height,
        width=picture.width,
    )
