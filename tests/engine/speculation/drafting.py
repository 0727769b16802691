"""Engines that guess, and prompts that give them something to guess."""

import random
from collections.abc import Sequence as ReadOnlySequence
from typing import Any

from pomona.core.generation import Prompt
from pomona.engine.engine import Engine
from pomona.engine.sequence import Sequence
from pomona.engine.speculation.draft_model import plan_draft
from pomona.engine.speculation.speculator import Offers, Speculator
from tests.engine.harness import family, loaded_family, make_engine, make_prompt, settings
from tests.families import VOCABULARY, Family

STEM = [(7 * i + 3) % VOCABULARY for i in range(90)]


class Whims(Speculator):
    """Decides by a die: what any controller could decide at any time."""

    def __init__(self, seed: int, **changes: object) -> None:
        super().__init__(settings(**{"speculation": "lookup", **changes}))
        self._die = random.Random(seed)

    def hopeful(self, rows: ReadOnlySequence[Sequence]) -> bool:
        return super().hopeful(rows) and self._die.random() < 0.8

    def _choose(self, rows: int, offers: Offers) -> tuple[dict[Sequence, int], int]:
        counts, depth = super()._choose(rows, offers)
        return {row: self._die.randint(0, count) for row, count in counts.items()}, depth


def guessing(name: str, draft: Family | None = None, **changes: object) -> Engine:
    """An engine that guesses whenever it can: by lookup, or by `draft`."""
    if draft is None:
        return make_engine(name, **{"speculation": "lookup", **changes})
    model, asked = loaded_family(family(name)), settings(**{"speculation": "draft", **changes})
    left, drafting = plan_draft(model, loaded_family(draft), asked)
    engine = make_engine(name, **left.model_dump())
    engine.speculate(Speculator(left, draft=drafting))
    return engine


def repetitive(id: str, text: int, length: int = 40, **options: Any) -> Prompt:
    """A prompt in which pieces come again, so that lookup finds something at every turn; `text` is its seed."""
    source = random.Random(text)
    pieces = [[source.randrange(VOCABULARY) for _ in range(source.randint(2, 6))] for _ in range(3)]
    ids = [token for _ in range(length) for token in source.choice(pieces)][:length]
    return make_prompt(id, ids, **options)
