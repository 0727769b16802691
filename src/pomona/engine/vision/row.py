"""The pictures of one row: where their features go, which of them are at hand, where its tokens stand."""

from typing import Protocol

import numpy as np

from pomona.core.generation import Prompt, PromptPicture
from pomona.models.vision.towers.features import PictureFeatures

Places = np.ndarray


class PicturedRow(Protocol):
    """A row of the batch, as far as its pictures are concerned."""

    pictures: "RowPictures | None"
    computed: int
    paused: bool


class RowPictures:
    """Made of a prompt that has pictures. `positions` are those of three axes where the model has such, (3, prompt tokens)."""

    def __init__(self, prompt: Prompt, token_id: int, *, positions: Places | None, both_ways: bool) -> None:
        ids = np.array(prompt.token_ids)
        self.pictures = prompt.pictures
        self.features: dict[int, PictureFeatures] = {}
        """By number of the picture: those that the row will need soon."""
        self.both_ways = both_ways
        self._picture = np.full(len(ids), -1)
        self._rank = np.zeros(len(ids), np.int64)
        self._spans: list[tuple[int, int]] = []  # first and last place of each picture's features
        for number, picture in enumerate(self.pictures):
            places = picture.start + np.flatnonzero(ids[picture.start : picture.start + picture.length] == token_id)
            self._picture[places], self._rank[places] = number, np.arange(len(places))
            self._spans.append((int(places[0]), int(places[-1])))
        self._positions = positions
        self.shift = 0 if positions is None else int(positions.max()) + 1 - len(ids)
        """What is added to a token's number behind the prompt to get its position."""

    def missing(self, computed: int, horizon: int) -> int | None:
        """The next picture whose features the row needs and has not, among those that begin before `horizon`."""
        for number, picture in enumerate(self.pictures):
            if picture.start >= horizon:
                return None
            if number not in self.features and self._spans[number][1] >= computed:
                return number
        return None

    def drop_used(self, computed: int) -> None:
        """Let go of features whose places are computed."""
        for number in [number for number in self.features if self._spans[number][1] < computed]:
            del self.features[number]

    def end_of_chunk(self, start: int, end: int, least: int) -> int:
        """Where a chunk of the prompt from `start` may end, `end` at most but for pictures that must be whole; `start`: not yet.

        A chunk that would be shorter than `least` tokens takes the whole picture rather than stop before it.
        """
        for number, (first, last) in enumerate(self._spans):
            if last < start or first >= end:
                continue
            if number not in self.features:
                return max(start, first)
            if self.both_ways and last >= end:
                return first if first - start >= least else last + 1
        return end

    def content(self, start: int, end: int) -> bytes:
        """What tells the tokens [start, end) of this row from the same ids with other pictures; empty where no picture is among them."""
        among = [p for p in self.pictures if p.start < end and start < p.start + p.length]
        return b"".join(p.digest + (p.start - start).to_bytes(8, "little", signed=True) for p in among)

    def places(self, start: int, count: int) -> tuple[Places, Places]:
        """(picture, rank of its feature) of the prompt's tokens from `start` on, `count` at most; picture -1: embedded as such."""
        return self._picture[start : start + count], self._rank[start : start + count]

    def positions(self, start: int, count: int) -> Places:
        """(3, count): of tokens from `start` on, those behind the prompt included."""
        counted = np.broadcast_to(np.arange(start, start + count) + self.shift, (3, count))
        if self._positions is None or start >= self._positions.shape[1]:
            return counted
        known = self._positions[:, start : start + count]
        return np.concatenate([known, counted[:, known.shape[1] :]], axis=1)

    def blocks(self, start: int, end: int) -> list[tuple[int, int]]:
        """(first, end) of each picture whose tokens see one another and partly lie in [start, end)."""
        return [(first, last + 1) for first, last in self._spans if self.both_ways and first < end and start <= last]


def axis_positions(prompt: Prompt, token_id: int, factor: int) -> Places:
    """(3, tokens): time, down, across. A picture stands at one time; behind it counting goes on from its longer side."""
    positions: list[Places] = []
    at = 0
    place = 0
    for picture in prompt.pictures:
        first, features = _feature_run(prompt, picture, token_id)
        positions.append(np.broadcast_to(np.arange(at, at + first - place), (3, first - place)))
        at += first - place
        rows, columns = picture.height // factor, picture.width // factor
        grid = np.stack(np.meshgrid(np.zeros(1, int), np.arange(rows), np.arange(columns), indexing="ij")).reshape(3, -1)
        positions.append(grid + at)
        at += max(rows, columns)
        place = first + features
    rest = len(prompt.token_ids) - place
    positions.append(np.broadcast_to(np.arange(at, at + rest), (3, rest)))
    return np.concatenate(positions, axis=1)


def _feature_run(prompt: Prompt, picture: PromptPicture, token_id: int) -> tuple[int, int]:
    span = prompt.token_ids[picture.start : picture.start + picture.length]
    return picture.start + span.index(token_id), span.count(token_id)
