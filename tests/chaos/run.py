"""One run of chaos: the answers of a quiet server first, then everything at once, then what is left of it."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from time import monotonic

import httpx
import psutil

from tests.chaos.faults import Breaker
from tests.chaos.house import DISK_CACHE_BYTES, House, Reading, housed
from tests.chaos.nonsense import BAD
from tests.chaos.plan import CUTS, Ask, Fault, Nonsense, Plan, Question
from tests.chaos.sockets import Client, Exchange
from tests.chaos.wires import PATHS, Answer, body_of, read_answer

AT_A_TIME = 32
SHOWN_PROBLEMS = 20
DESCRIPTORS_SLACK = 4
MEMORY_SLACK_BYTES = 24 * 2**20
Answers = dict[Question, Answer]


@dataclass(slots=True)
class Report:
    """What came of it. `problems` is empty where every promise was kept."""

    seed: int
    streams: int
    outcomes: Counter[str] = field(default_factory=Counter[str])
    """Of requests: exact, cut by the client, refused as they should be, and so on."""
    faults: Counter[str] = field(default_factory=Counter[str])
    found_seconds: list[float] = field(default_factory=list[float])
    """From an engine's hang to its end."""
    health: Counter[str] = field(default_factory=Counter[str])
    readings: list[Reading] = field(default_factory=list[Reading])
    """At rest: before, and after each round."""
    tokens: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list[str])

    def told(self) -> str:
        """What someone needs who has to find out why it failed."""
        lines = [
            f"seed {self.seed} with {self.streams} streams: {dict(self.outcomes)}, {dict(self.faults)}",
            *self.problems[:SHOWN_PROBLEMS],
        ]
        return "\n".join(lines)

    def document(self) -> dict[str, object]:
        """All of it, for JSON."""
        plain = {name: getattr(self, name) for name in ("seed", "streams", "found_seconds", "tokens", "seconds", "problems")}
        counts = {name: dict(getattr(self, name)) for name in ("outcomes", "faults", "health")}
        return {**plain, **counts, "readings": [asdict(reading) for reading in self.readings]}


async def run(plan: Plan, *, rounds: int = 1, settings: Mapping[str, object] | None = None) -> Report:
    """Run `plan` in `rounds` parts; between them the server comes to rest and is read."""
    report = Report(seed=plan.seed, streams=sum(isinstance(each, Ask) for each in plan.requests))
    begun = monotonic()
    with housed(settings or {}) as house:
        answers = await _ask_quietly(house, plan)
        report.readings.append(await asyncio.to_thread(house.settle))
        breaker = Breaker(house, random.Random(plan.seed + 1))
        for number in range(rounds):
            await _Round(house, plan, answers, report, breaker).run(number, rounds)
            report.readings.append(await asyncio.to_thread(house.settle))
        report.faults, report.found_seconds = breaker.done, breaker.found_seconds
        report.problems += breaker.problems + _judge(report) + await asyncio.to_thread(house.end)
        report.problems += [f"log: {line}" for line in house.complaints()]
    report.seconds = monotonic() - begun
    return report


async def _ask_quietly(house: House, plan: Plan) -> Answers:
    """What each question is answered when nothing else happens, one at a time and as a whole."""
    client, answers = Client(house.url), Answers()
    for question in plan.questions():
        exchange = await client.post(PATHS[question.wire], body_of(question, streamed=False))
        assert (exchange.status, exchange.ended) == (200, "complete"), exchange
        answers[question] = read_answer(question.wire, bytes(exchange.body), streamed=False)
    return answers


class _Round:
    """A part of a plan."""

    def __init__(self, house: House, plan: Plan, answers: Answers, report: Report, breaker: Breaker) -> None:
        self._house = house
        self._plan = plan
        self._answers = answers
        self._report = report
        self._breaker = breaker
        self._client = Client(house.url)
        self._places = asyncio.Semaphore(AT_A_TIME)
        self._ended = 0
        self._progress = asyncio.Event()

    async def run(self, number: int, rounds: int) -> None:
        """The `number`th of `rounds` parts."""
        first, last = (len(self._plan.requests) * each // rounds for each in (number, number + 1))
        self._ended = first
        faults = [fault for fault in self._plan.faults if first <= fault.after < last]
        watching = asyncio.create_task(self._watch_health())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._break(faults))
            for request in self._plan.requests[first:last]:
                group.create_task(self._ask(request))
        await self._break([Fault(after=0, kind="free"), Fault(after=0, kind="clock")] if faults else [])
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    async def _break(self, faults: list[Fault]) -> None:
        for fault in faults:
            while self._ended < fault.after:
                self._progress.clear()
                await self._progress.wait()
            with suppress(psutil.NoSuchProcess):  # it went before it was struck
                await asyncio.to_thread(self._breaker.do, fault)

    async def _ask(self, request: Ask | Nonsense) -> None:
        async with self._places:
            if isinstance(request, Nonsense):
                bad = BAD[request.kind]
                self._judge_nonsense(request, await self._client.send(bad.sent, ends=bad.ends))
            else:
                question = request.question
                body = body_of(question, streamed=request.streamed)
                exchange = await self._client.post(PATHS[question.wire], body, request.manner, request.at)
                self._judge(request, exchange)
        self._ended += 1
        self._progress.set()

    def _judge_nonsense(self, request: Nonsense, exchange: Exchange) -> None:
        if exchange.status in BAD[request.kind].answers:
            self._report.outcomes["nonsense refused"] += 1
        else:
            self._blame("nonsense not refused", request, f"status {exchange.status}: {bytes(exchange.body[:200])!r}")

    def _judge(self, ask: Ask, exchange: Exchange) -> None:
        expected = self._answers[ask.question]
        if exchange.status not in {0, 200}:
            self._blame("error", ask, f"status {exchange.status}: {bytes(exchange.body[:300])!r}")
            return
        if exchange.ended == "left" or (exchange.status == 0 and ask.manner in CUTS):
            self._judge_cut(ask, exchange, expected)
            return
        if exchange.ended != "complete":
            self._blame("cut by the server", ask, f"status {exchange.status} after {len(exchange.body)} bytes")
            return
        answer = read_answer(ask.question.wire, bytes(exchange.body), streamed=ask.streamed)
        if answer.error is not None:
            self._blame("error", ask, answer.error)
        elif answer.problems or not answer.complete:
            self._blame("bad form", ask, "; ".join(answer.problems) or "it has no end")
        elif not answer.same(expected):
            self._blame("lost or repeated tokens", ask, f"{answer!r} instead of {expected!r}")
        else:
            self._report.outcomes["exact, stalled" if ask.manner == "stalls" else "exact"] += 1
            self._report.tokens += answer.tokens or 0

    def _judge_cut(self, ask: Ask, exchange: Exchange, expected: Answer) -> None:
        """What came before a client left must be the beginning of what it would have got."""
        answer = read_answer(ask.question.wire, bytes(exchange.body), streamed=True) if ask.streamed else Answer()
        if expected.text.startswith(answer.text):
            self._report.outcomes["cut by the client"] += 1
        else:
            self._blame("lost or repeated tokens", ask, f"{answer!r} is no beginning of {expected!r}")

    def _blame(self, outcome: str, request: Ask | Nonsense, what: str) -> None:
        self._report.outcomes[outcome] += 1
        self._report.problems.append(f"{outcome}: {request!r}: {what}")

    async def _watch_health(self) -> None:
        """What liveness says all the time: it must answer, and with 200."""
        async with httpx.AsyncClient(timeout=30) as client:
            while True:
                answer = await client.get(f"{self._house.admin_url}/health")
                self._report.health[answer.json()["status"]] += 1
                if answer.status_code != 200:
                    self._report.problems.append(f"health: {answer.json()['problems']}")
                await asyncio.sleep(0.2)


def _judge(report: Report) -> list[str]:
    """What the server held at rest: nothing may grow."""
    before, *after = report.readings
    problems: list[str] = []
    for number, now in enumerate(after, 1):
        held = {"pages": now.pages_used, "rows": now.rows, "engines beyond two": now.engines - 2}
        problems += [f"after round {number} the server held {value:g} {name}" for name, value in held.items() if value]
        if now.descriptors > before.descriptors + DESCRIPTORS_SLACK:
            problems.append(f"after round {number} the gateway had {now.descriptors} descriptors instead of {before.descriptors}")
        if now.kept_bytes > DISK_CACHE_BYTES:
            problems.append(f"after round {number} {now.kept_bytes} bytes of pages were on disk instead of {DISK_CACHE_BYTES}")
        new = sorted(set(now.files) - set(before.files))
        problems += [f"after round {number} there were new files: {new}"] if new else []
    first, last = after[0].rss_bytes, after[-1].rss_bytes
    if last > first * 1.1 + MEMORY_SLACK_BYTES:
        problems.append(f"the gateway grew from {first / 2**20:.0f} to {last / 2**20:.0f} MiB")
    return problems
