"""One row's whole life: tokens known, tokens computed, pages held. Mutable, owned by the scheduler."""

from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from pomona.core.generation import Priority, Prompt, TokenLogprobs
from pomona.engine.adapters.terms import LoadedAdapter
from pomona.engine.grammar.constraint import Constraint
from pomona.engine.states import RowState
from pomona.engine.timeline.watch import RowWatch
from pomona.engine.turn import Turn
from pomona.engine.vision.row import RowPictures

HEAD_START: dict[Priority, int] = {"high": 256, "normal": 0, "low": -256}
"""Rows. A low row gives way to fewer than 256 normal and 512 high rows that came after it, so it never starves."""


@dataclass(slots=True, kw_only=True, eq=False)
class Sequence:
    """A prompt and what has been made of it.

    `tokens` are the known ones (prompt, then output). `pending` tokens were sampled on the device but not read back yet.
    `computed` counts the tokens whose keys and values are written, or will be by work already built.
    """

    prompt: Prompt
    seed: int
    arrival: int
    tokens: list[int]
    adapter: LoadedAdapter | None = None
    awaits_adapter: bool = False
    """There is no room for its adapter yet: nothing of it is computed."""
    awaits_pages: bool = False
    """Pages of its beginning are being read from disk: nothing of it is computed."""
    lost_pages: bool = False
    """It ran and was put back. What memory has let go of since may be on disk."""
    computed: int = 0
    pending: int = 0
    cached_tokens: int = 0
    paused: bool = False
    finished: bool = False
    pending_token: tuple[mx.array, int] | None = None
    """Where the last token that was sampled and not read back is: an array (rows,) and the row's place in it."""
    guesses: list[int] = field(default_factory=list[int])
    """What may follow the known tokens, to be checked in the next pass."""
    block_hashes: list[bytes] = field(default_factory=list[bytes])
    indexed_blocks: int = 0
    tables: list[list[int]] = field(default_factory=list[list[int]])
    """Per page group: page number of each block of tokens; `TRASH_PAGE` where a sliding window has left it behind."""
    state: RowState | None = None
    checkpoint: tuple[int, RowState] | None = None
    """The recurrent state after that many tokens, to be kept once all of them are known."""
    private_caches: list[Any] | None = None
    """mlx-lm's own caches, for models whose layers keep something that pages cannot hold."""
    penalty_slot: int = 0
    """Row of the penalty tables; 0 is the neutral one."""
    constraint: Constraint | None = None
    """What binds the choice of its tokens, as of the known ones."""
    held: bool = False
    """Its grammar is being compiled: its prompt may be computed, but no token chosen."""
    scored: int = 0
    """Prompt tokens whose successors have their log-probabilities, or will have by work already built."""
    scores: list[TokenLogprobs] = field(default_factory=list[TokenLogprobs])
    """Log-probabilities of the prompt's second token and on, as far as they were read."""
    pictures: RowPictures | None = None
    """Those of its prompt."""
    turn: Turn = field(default_factory=Turn)
    """Where it stands among the others."""
    chunk_limit: int | None = None
    """Most tokens of one pass while its prompt is scored."""
    shares: bool = False
    """It waits for a beginning that another row computes just now."""
    watch: RowWatch = field(default_factory=RowWatch)
    """Where its time goes."""

    @property
    def id(self) -> str:
        """The prompt's id."""
        return self.prompt.id

    @property
    def root(self) -> bytes:
        """What its block hashes begin with: keys and values are those of one adapter."""
        return self.adapter.root if self.adapter else b""

    @property
    def order(self) -> tuple[int, int]:
        """Its place among rows that want the same thing: by first start, or else arrival, with a head start for its priority; the lowest
        goes first.
        """
        count = self.turn.place or self.arrival
        return count - HEAD_START[self.prompt.priority], count

    @property
    def startable(self) -> bool:
        """While it waits: it could run if there were room."""
        return not (self.paused or self.pending or self.awaits_adapter or self.awaits_pages)

    @property
    def wants_scores(self) -> bool:
        """Part of its prompt is still to be scored."""
        return self.prompt.prompt_logprobs is not None and self.scored < len(self.prompt.token_ids) - 1

    @property
    def reusable(self) -> int:
        """Tokens at its beginning that may come out of the cache: not the last known one, and none that is to be scored."""
        return self.scored if self.wants_scores else len(self.tokens) - 1

    @property
    def outputs(self) -> int:
        """Tokens generated and known."""
        return len(self.tokens) - len(self.prompt.token_ids)

    @property
    def made(self) -> int:
        """Those of them that this engine generated."""
        return self.outputs - len(self.prompt.answered_ids)

    @property
    def prefill_left(self) -> int:
        """Tokens to compute before the last known one, which decoding takes as its input."""
        return len(self.tokens) - 1 - self.computed

    @property
    def wants_decode(self) -> bool:
        """A next token can be asked for."""
        return self.prefill_left <= 0 and not self.paused and not self.held and self.outputs + self.pending < self.prompt.max_tokens
