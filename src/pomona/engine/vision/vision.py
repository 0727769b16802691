"""An engine's eyes: takes the pictures of rows, makes their features one picture a step, and puts them into passes."""

from collections.abc import Generator, Iterable, Iterator
from collections.abc import Sequence as ReadOnlySequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import mlx.core as mx
import numpy as np

from pomona.core.errors import InvalidRequest, UnsupportedField
from pomona.core.generation import Prompt, PromptPicture
from pomona.engine.vision.merging import merge
from pomona.engine.vision.row import PicturedRow, RowPictures, axis_positions
from pomona.engine.vision.store import FeatureStore
from pomona.models.vision.loading import VisionPart
from pomona.models.vision.towers.features import PictureFeatures
from pomona.pictures.geometry.facts import VisionFacts, expansion, target_size
from pomona.pictures.geometry.reading import read_vision_facts


class JoiningView(Protocol):
    """Where the rows of a pass stand in one group of pages, and which positions of each see one another both ways."""

    joined: list[list[tuple[int, int]]] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PassWork:
    """A pass: `counts[i]` tokens of `rows[i]` from position `starts[i]`, and where they stand in each group of pages."""

    rows: ReadOnlySequence[PicturedRow]
    starts: list[int]
    counts: list[int]
    views: ReadOnlySequence[JoiningView]

    def lines(self) -> Iterator[tuple[PicturedRow, int, int]]:
        """(row, start, count) of each."""
        return zip(self.rows, self.starts, self.counts, strict=True)


class Vision:
    """`facts` say what pictures must look like, `part` sees them; features are kept in `cache_bytes`."""

    def __init__(self, part: VisionPart, facts: VisionFacts, cache_bytes: int) -> None:
        self.store = FeatureStore(cache_bytes)
        self._part = part
        self._facts = facts

    def accept(self, prompt: Prompt) -> RowPictures | None:
        """The pictures of a new row. Raises InvalidRequest where they do not fit their places."""
        if not prompt.pictures:
            return None
        place = 0
        for number, picture in enumerate(prompt.pictures):
            self._check(prompt, picture, number, place)
            place = picture.start + picture.length
        token_id = self._facts.token_id
        positions = axis_positions(prompt, token_id, self._facts.pattern.factor) if self._part.positions else None
        return RowPictures(prompt, token_id, positions=positions, both_ways=self._part.both_ways)

    def advance(self, rows: Iterable[PicturedRow], horizon: int) -> None:
        """Before a step: let go of what is used, and make the features of at most one picture, for the first row that lacks some.

        `horizon`: so many tokens ahead of what is computed, pictures are prepared.
        """
        made = False
        for row in rows:
            if row.pictures is not None:
                row.pictures.drop_used(row.computed)
                made = self._prepare(row, row.pictures, row.computed + horizon, may_make=not made) or made

    def _prepare(self, row: PicturedRow, pictures: RowPictures, horizon: int, *, may_make: bool) -> bool:
        """Give a row the features that are at hand, or those of one picture that may be made; whether one was."""
        made = False
        while not row.paused and (number := pictures.missing(row.computed, horizon)) is not None:
            picture = pictures.pictures[number]
            features = self.store.get(picture.digest)
            if features is None and (made or not may_make):
                break
            if features is None:
                features, made = self._encode(picture), True
                self.store.put(picture.digest, features)
            pictures.features[number] = features
        return made

    def call(self, model: Any, work: "PassWork", ids: mx.array, caches: list[Any]) -> mx.array:
        """`model(ids, cache=caches)` for a pass in which some row has pictures; `ids` are (rows, tokens)."""
        merged = merge(work.rows, work.starts, work.counts)
        embeddings: mx.array | None = None
        additions: tuple[mx.array, ...] = ()
        if merged is not None:
            plain = self._part.embed(ids)
            embeddings, additions = merged.put(plain, self._part.scale), merged.additions(plain.dtype)
        joined = [row.pictures.blocks(s, s + c) if row.pictures else [] for row, s, c in work.lines()]
        for view in work.views:
            view.joined = joined if any(joined) else None
        with self._teach(work, ids.shape[1], additions):
            return cast("mx.array", model(ids, cache=caches, **({} if embeddings is None else {"input_embeddings": embeddings})))

    @contextmanager
    def _teach(self, work: "PassWork", width: int, additions: tuple[mx.array, ...]) -> Generator[None]:
        """Tell the language part what holds for the pass that is built in this context."""
        if self._part.positions is not None:
            positions = [row.pictures.positions(s, width) if row.pictures else _counted(s, width) for row, s, _ in work.lines()]
            self._part.positions.begin(mx.array(np.stack(positions).astype(np.int32)))
        if self._part.additions is not None:
            self._part.additions.arrays = additions
        try:
            yield
        finally:
            if self._part.positions is not None:
                self._part.positions.end()
            if self._part.additions is not None:
                self._part.additions.arrays = ()

    def counts(self) -> dict[str, int]:
        """Fields of `core.status.EngineCounters`."""
        return {"pictures_made": self.store.misses, "pictures_spared": self.store.hits, "picture_bytes": self.store.nbytes}

    def _encode(self, picture: PromptPicture) -> PictureFeatures:
        """Compute the features of a picture now."""
        facts = self._facts
        pixels = np.frombuffer(picture.pixels, np.uint8).reshape(picture.height, picture.width, 3).astype(np.float32)
        normal = (pixels * np.float32(facts.rescale) - np.array(facts.mean, np.float32)) / np.array(facts.std, np.float32)
        features = self._part.tower.encode(mx.array(normal))
        mx.eval(features.arrays)
        return features

    def _check(self, prompt: Prompt, picture: PromptPicture, number: int, place: int) -> None:
        end = picture.start + picture.length
        where = f"Picture {number} of the prompt (tokens {picture.start} to {end - 1})"
        if picture.start < place or end >= len(prompt.token_ids) or picture.length < 1:
            raise InvalidRequest(f"{where} must lie within the prompt, behind the pictures before it, with a token behind it.")
        if len(picture.pixels) != picture.width * picture.height * 3:
            raise InvalidRequest(f"{where} has {len(picture.pixels)} bytes of pixels, not {picture.width} x {picture.height} x 3.")
        expected = expansion(self._facts, picture.width, picture.height)
        if not self._is_fitted(picture) or prompt.token_ids[picture.start : end] != expected:
            raise InvalidRequest(
                f"{where} has {picture.width} x {picture.height} pixels and {picture.length} tokens, which is no size and no pattern of "
                "tokens that this model knows. Fit the picture, and let its placeholder become its tokens, as `pictures.geometry` says."
            )

    def _is_fitted(self, picture: PromptPicture) -> bool:
        size, factor = (picture.width, picture.height), self._facts.pattern.factor
        if self._facts.pattern.count is None:
            return min(size) > 0 and picture.width % factor == 0 and picture.height % factor == 0
        return target_size(self._facts, *size) == size


def open_eyes(part: VisionPart, folder: Path, cache_bytes: int) -> Vision | None:
    """For the vision part of the model in `folder`; None where the folder does not say how pictures go in."""
    facts = read_vision_facts(folder)
    return Vision(part, facts, cache_bytes) if facts else None


def accept(vision: Vision | None, prompt: Prompt) -> RowPictures | None:
    """The pictures of a new row. Raises InvalidRequest, UnsupportedField where the model takes none."""
    if vision is not None:
        return vision.accept(prompt)
    if prompt.pictures:
        raise UnsupportedField("This model takes no pictures. Ask a model that does, or send text alone.")
    return None


def _counted(start: int, width: int) -> np.ndarray:
    return np.broadcast_to(np.arange(start, start + width), (3, width))
