"""One row's whole life: tokens known, tokens computed, pages held. Mutable, owned by the scheduler."""

from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from pomona.core.generation import Prompt
from pomona.engine.states import RowState


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
    computed: int = 0
    pending: int = 0
    cached_tokens: int = 0
    paused: bool = False
    finished: bool = False
    pending_token: tuple[mx.array, int] | None = None
    """Where the last token that was sampled and not read back is: an array (rows,) and the row's place in it."""
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

    @property
    def id(self) -> str:
        """The prompt's id."""
        return self.prompt.id

    @property
    def outputs(self) -> int:
        """Tokens generated and known."""
        return len(self.tokens) - len(self.prompt.token_ids)

    @property
    def prefill_left(self) -> int:
        """Tokens to compute before the last known one, which decoding takes as its input."""
        return len(self.tokens) - 1 - self.computed

    @property
    def wants_decode(self) -> bool:
        """A next token can be asked for."""
        return self.prefill_left <= 0 and not self.paused and self.outputs + self.pending < self.prompt.max_tokens
