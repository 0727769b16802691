"""What a run sends, and when: all of it drawn from one seed before the first request leaves."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from pomona.core.errors import InvalidRequest

LONGEST = 1_000_000
Shape = Literal["fixed", "range", "exponential", "choice"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """A distribution over numbers of tokens."""

    shape: Shape
    values: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> "Lengths":
        """Read `128`, `64-512` (uniform), `32,512` (one of them) or `exp:200` (exponential of that mean). Raises InvalidRequest."""
        if match := re.fullmatch(r"exp:(\d+)", text):
            return cls._checked("exponential", (int(match[1]),), text)
        if match := re.fullmatch(r"(\d+)-(\d+)", text):
            return cls._checked("range", (int(match[1]), int(match[2])), text)
        if re.fullmatch(r"\d+(,\d+)*", text):
            values = tuple(int(part) for part in text.split(","))
            return cls._checked("fixed" if len(values) == 1 else "choice", values, text)
        raise InvalidRequest(
            f"{text!r} is no number of tokens. Write 128, 64-512 (between), 32,512 (one of them) or exp:200 (of that mean)."
        )

    @classmethod
    def _checked(cls, shape: Shape, values: tuple[int, ...], text: str) -> "Lengths":
        if min(values) < 1 or max(values) > LONGEST:
            raise InvalidRequest(f"{text!r} holds a number of tokens that is not between 1 and {LONGEST}.")
        if shape == "range" and values[0] > values[1]:
            raise InvalidRequest(f"{text!r} runs from high to low. Write {values[1]}-{values[0]}.")
        return cls(shape=shape, values=values)

    def draw(self, dice: random.Random) -> int:
        """One length. An exponential one is at least 1 and at most 8 times the mean."""
        if self.shape == "range":
            return dice.randint(*self.values)
        if self.shape == "exponential":
            mean = self.values[0]
            return max(1, min(round(dice.expovariate(1 / mean)), 8 * mean))
        return dice.choice(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """One run. Either `concurrency` requests are always under way, or requests arrive at `rate` per second whatever happens."""

    url: str
    model: str
    concurrency: int | None = 4
    rate: float | None = None
    requests: int | None = None
    """Stop sending after so many."""
    seconds: float = 30.0
    """Stop sending after so long."""
    drain_seconds: float = 60.0
    """Answers under way at the end get so long to finish."""
    prompt_tokens: Lengths = Lengths(shape="fixed", values=(128,))
    output_tokens: Lengths = Lengths(shape="fixed", values=(64,))
    seed: int = 0
    stop_at_eos: bool = False
    """Let answers end where the model ends them; else every one has its full length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request of a run. `at` is in seconds after the start of the run; None: as soon as one of the N places is free."""

    index: int
    at: float | None
    prompt_tokens: int
    output_tokens: int
    seed: int


def calls(plan: LoadPlan) -> Iterator[Call]:
    """The requests of `plan`, the same for the same seed, without end where `plan.requests` is None."""
    dice = random.Random(plan.seed)
    at, index = 0.0, 0
    while plan.requests is None or index < plan.requests:
        yield Call(
            index=index,
            at=at if plan.rate else None,
            prompt_tokens=plan.prompt_tokens.draw(dice),
            output_tokens=plan.output_tokens.draw(dice),
            seed=dice.getrandbits(31),
        )
        at += dice.expovariate(plan.rate) if plan.rate else 0.0
        index += 1


def is_loopback(url: str) -> bool:
    """Whether `url` points at this machine. Raises InvalidRequest when it is no http URL."""
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.scheme in {"http", "https"} and parts.port != 0 else None
    except ValueError:
        host = None
    if not host:
        raise InvalidRequest(f"{url!r} is no address of a server. Write it like http://127.0.0.1:11440.")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
