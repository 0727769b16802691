"""What happens in a run of chaos, drawn from a seed: who asks what, in which manner, and what breaks after how many answers."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tests.chaos.nonsense import KINDS

Wire = Literal["chat", "completions", "messages", "responses"]
Manner = Literal["reads", "stalls", "drips", "rst", "fin", "half", "leaves"]
"""reads: at once; stalls: stops reading for a while; drips: sends its body in small pieces; rst, fin: cuts the connection after some bytes
of the answer; half: closes its sending side after some bytes; leaves: goes before the first byte of the answer."""
FaultKind = Literal["kill", "abort", "hang", "pause", "clock", "fill", "free", "spoil", "load", "unload"]
WIRES: tuple[Wire, ...] = ("chat", "completions", "messages", "responses")
CUTS: frozenset[Manner] = frozenset(("rst", "fin", "half", "leaves"))
KILLS: tuple[FaultKind, ...] = ("kill", "abort", "hang")
MAIN, OTHER = "pomona-tiny", "stories260K"
PROMPTS = (
    "Hello!",
    "Once upon a time",
    "What is the capital of France?",
    "Tell me a story about a dog that could fly. " * 6,
    "Tell me a story about a dog that could fly. " * 6 + "Make it short.",
    "¿Qué hora es? 今何時ですか？",
    "List three fruits.\n\n" + "Apples, pears and plums grow on trees. " * 12,
    "Count from one to twenty.",
)
LENGTHS = (8, 24, 48, 96)
LONG = 240
"""Tokens of an answer whose reader stalls: with its log-probabilities it fills every buffer on the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked. `seed` None: greedy."""

    wire: Wire
    model: str
    prompt: int
    max_tokens: int
    seed: int | None
    logprobs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request. `at` is after how many bytes of the answer its manner shows."""

    number: int
    question: Question
    streamed: bool
    manner: Manner = "reads"
    at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Nonsense:
    """One request that is none; `kind` is a key of `nonsense.KINDS`."""

    number: int
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What breaks after `after` requests of the run have ended. `value` is the new distance of the wall clock in seconds."""

    after: int
    kind: FaultKind
    value: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All of it, in order."""

    seed: int
    requests: tuple[Ask | Nonsense, ...]
    faults: tuple[Fault, ...]

    def questions(self) -> tuple[Question, ...]:
        """Each question once."""
        return tuple(dict.fromkeys(each.question for each in self.requests if isinstance(each, Ask)))


def make_plan(seed: int, streams: int, *, kills: bool = True, disks: bool = True) -> Plan:
    """`streams` requests of clients that mean it, a fifth as many that do not, and faults between them."""
    dice = random.Random(seed)
    questions = _questions(dice)
    requests: list[Ask | Nonsense] = [_ask(dice, number, questions) for number in range(streams)]
    for number in range(streams // 5):
        requests.insert(dice.randrange(len(requests) + 1), Nonsense(number=streams + number, kind=dice.choice(KINDS)))
    return Plan(seed=seed, requests=tuple(requests), faults=tuple(_faults(dice, len(requests), kills=kills, disks=disks)))


def _questions(dice: random.Random) -> Sequence[Question]:
    """A few that are asked again and again, so that few answers have to be made in advance."""
    found = [
        Question(
            wire=wire,
            model=MAIN,
            prompt=dice.randrange(len(PROMPTS)),
            max_tokens=dice.choice(LENGTHS),
            seed=dice.randrange(2**31) if seeded else None,
        )
        for wire in WIRES
        for seeded in (False, True, True)
    ]
    other = [
        Question(wire="completions", model=OTHER, prompt=1, max_tokens=dice.choice(LENGTHS), seed=seed)
        for seed in (None, dice.randrange(2**31))
    ]
    long = Question(wire="chat", model=MAIN, prompt=3, max_tokens=LONG, seed=dice.randrange(2**31), logprobs=True)
    return (*found, *other, long)


def _ask(dice: random.Random, number: int, questions: Sequence[Question]) -> Ask:
    *short, long = questions
    draw = dice.random()
    if draw < 0.03:
        return Ask(number=number, question=long, streamed=True, manner="stalls", at=dice.randrange(1, 4000))
    question, streamed = dice.choice(short), dice.random() < 0.75
    if draw < 0.75:
        return Ask(number=number, question=question, streamed=streamed)
    if draw < 0.80:
        return Ask(number=number, question=question, streamed=streamed, manner="drips")
    manner = dice.choice(sorted(CUTS))
    return Ask(number=number, question=question, streamed=streamed, manner=manner, at=dice.randrange(1, 6000) if streamed else 1)


def _faults(dice: random.Random, requests: int, *, kills: bool, disks: bool) -> list[Fault]:
    times = max(1, requests // 60)
    found = [
        Fault(after=dice.randrange(requests), kind="clock", value=dice.uniform(-1, 1) * 10 ** dice.uniform(0, 8)) for _ in range(times)
    ]
    found += [Fault(after=dice.randrange(requests), kind=kind) for kind in ("load", "unload") for _ in range(times)]
    found += [Fault(after=dice.randrange(requests), kind=kind) for kind in ("pause", "spoil", "spoil") for _ in range(times)]
    if kills:
        found += [Fault(after=dice.randrange(requests), kind=kind) for kind in ("kill", "kill", "abort", "hang") for _ in range(times)]
    if disks:
        found += _fillings(dice, requests, times)
    return sorted(found, key=lambda fault: fault.after)


def _fillings(dice: random.Random, requests: int, times: int) -> list[Fault]:
    """The disk is full for a tenth of the run, at times that do not overlap."""
    period = requests // times
    begins = [index * period + dice.randrange(max(1, period * 8 // 10)) for index in range(times)]
    return [
        fault
        for begin in begins
        for fault in (Fault(after=begin, kind="fill"), Fault(after=min(requests - 1, begin + max(1, period // 10)), kind="free"))
    ]
