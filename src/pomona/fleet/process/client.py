"""One engine process, from its start to its end, as a source of tokens."""

import asyncio
import itertools
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

from pomona.core.errors import Cancelled, EngineFailed, Overloaded, PomonaError, error_of
from pomona.core.generation import Prompt, TokenStep
from pomona.core.settings import FleetSettings
from pomona.core.status import EngineCounters
from pomona.engine.protocol import (
    Add,
    Busy,
    Cancel,
    Encode,
    Encoded,
    Encoding,
    Fallen,
    Heartbeat,
    Launch,
    LoadFailed,
    Loading,
    Pause,
    Ready,
    Refused,
    Resume,
    Row,
    Shrink,
    Shutdown,
    Step,
    TextInput,
    ToGateway,
)
from pomona.fleet.process.child import Child
from pomona.fleet.process.death import Death, OomCount, describe_exit, judge_exit, last_words
from pomona.fleet.process.endpoint import Endpoint
from pomona.fleet.process.link import Link
from pomona.fleet.process.mailbox import Mailbox
from pomona.fleet.process.naming import RowNames
from pomona.fleet.process.starting import Start
from pomona.fleet.process.vigil import Vigil, Vitals, read_vitals, runs_a_compiler

LAST_WORDS_SECONDS = 0.5
"""After a process has exited by itself, what it said before may still be under way for this long."""
STUBBORN_SECONDS = 5.0
"""An engine that was told to end may finish its step for this long; one that loads is not asked."""
FALLEN_SECONDS = 1.0
"""One that has given up has nothing to do but to end, and a device in error may keep it from that."""
Moved = Callable[[bool], None]
LaunchAt = Callable[[str], Launch]
"""Address -> launch."""


class EngineClient:
    """Made on a running loop; `start` once, then `stream`; `stop` always, however it went."""

    def __init__(
        self,
        start: Start,
        launch_at: LaunchAt,
        settings: FleetSettings,
        pressed: Callable[[], bool] = lambda: False,
        oom_count: OomCount | None = None,
    ) -> None:
        """`pressed`: memory is short now. `oom_count`: what the system has killed for that."""
        self._settings = settings
        self._pressed = pressed
        self._mailboxes: dict[str, Mailbox] = {}
        self._encodings: dict[str, asyncio.Future[Encoded]] = {}
        self._row_ids = itertools.count()
        self._names = RowNames()
        self._loaded: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[PomonaError] = asyncio.get_running_loop().create_future()
        """Why the engine is of no use any more."""
        self.stats = EngineCounters()
        self.proved_at: float | None = None
        """When the device last worked, by `time.monotonic`."""
        self._vigil = Vigil(settings, self._vitals, lambda: self.replaceable and runs_a_compiler(self.pid))
        self._oom_count = oom_count or OomCount()
        self.death = Death()
        """What it died of, once it has."""
        self.was_idle = True
        """It had nothing to do when it ended."""
        self._endpoint = Endpoint()
        launch = launch_at(self._endpoint.address)
        self._model = launch.model
        self._link = Link(self._endpoint.address, self._receive)
        try:
            self._child = start(launch)
        except OSError as error:
            self._let_go()
            raise EngineFailed(f"The engine process of {self._model!r} cannot be started: {error}.") from None
        self._watches = [asyncio.ensure_future(self._watch_exit()), asyncio.ensure_future(self._watch_silence())]

    @property
    def pid(self) -> int:
        """Process id of the engine."""
        return self._child.pid

    async def start(self, limit_seconds: float = math.inf) -> Ready:
        """Wait for the model. Raises what the engine says of a model that cannot be loaded, EngineFailed if it dies, or takes longer than
        `limit_seconds` or the settings allow.
        """
        most = self._settings.load_seconds
        limit, then = (
            (most, "Raise fleet.load_seconds if it needs more.") if limit_seconds >= most else (limit_seconds, "It was quicker before.")
        )
        done, _ = await asyncio.wait([self._loaded, self.ended], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            raise EngineFailed(f"Loading {self._model!r} took longer than {limit:.4g} seconds. {then}")
        if not self._loaded.done():
            raise self.ended.result()
        return self._loaded.result()

    @property
    def replaceable(self) -> bool:
        """It can be ended from here, whatever it does."""
        return isinstance(self._child, Child)

    @property
    def lost(self) -> bool:
        """It cannot be ended, so no other may take its place."""
        return self._child.lost

    @property
    def silent_seconds(self) -> float:
        """Since it last said that a step ran; 0 before it was ready."""
        return 0.0 if self.proved_at is None else time.monotonic() - self.proved_at

    @property
    def patient_seconds(self) -> float:
        """Its silence is no hang for so long from now: it has said that its present step takes long."""
        return self._vigil.patient_seconds

    async def stream(self, prompt: Prompt, moved: Moved = lambda _: None) -> AsyncGenerator[TokenStep]:
        """Continue `prompt`; tokens that came while nobody read arrive together. Closing the stream cancels the row.

        `moved` is told at once when something came, and whether that was the last.
        """
        row_id = str(next(self._row_ids))  # not the prompt's: rows of a closed stream may still come when its id is used again
        mailbox = self._open(replace(prompt, id=row_id), moved)
        self._names.note(row_id, prompt.id)
        try:
            while True:
                step = self._names.in_words(await mailbox.take())
                yield step
                if step.finish_reason is not None:
                    return
        finally:
            del self._mailboxes[row_id]
            if not mailbox.finished:
                self._link.send(Cancel(row_id))

    async def encode(self, texts: Sequence[TextInput]) -> Encoded:
        """A vector or score of each text. Cancelling the caller cancels the engine's work."""
        self._check_takes_work()
        request_id = str(next(self._row_ids))
        answer = self._encodings[request_id] = asyncio.get_running_loop().create_future()
        self._link.send(Encode(request_id, list(texts)))
        try:
            return await answer
        finally:
            del self._encodings[request_id]
            if answer.cancelled():
                self._link.send(Cancel(request_id))

    def shrink(self, *, disk: bool = False) -> None:
        """Ask the engine to give back memory that it can do without."""
        self._link.send(Shrink(disk))

    async def stop(self) -> None:
        """End the process and every stream; leave nothing behind."""
        patience_seconds = STUBBORN_SECONDS if self._loaded.done() else 0.0
        if self.ended.done():
            patience_seconds = min(patience_seconds, FALLEN_SECONDS)
        self._end(Cancelled("Pomona is shutting down and did not finish this answer. Send the request again."))
        self._link.send(Shutdown())
        try:
            await self._child.stop(patience_seconds)
        finally:
            for watch in self._watches:
                watch.cancel()
            self._let_go()

    def _check_takes_work(self) -> None:
        if self.ended.done():
            raise error_of(self.ended.result().code, self.ended.result().message)
        if self._link.congested:
            raise Overloaded("The engine does not take requests at the moment. Try again in a second.")

    def _open(self, prompt: Prompt, moved: Moved) -> Mailbox:
        self._check_takes_work()
        mailbox = Mailbox(
            self._settings.reader_high_water,
            pause=lambda: self._link.send(Pause(prompt.id)),
            resume=lambda: self._link.send(Resume(prompt.id)),
            moved=moved,
        )
        self._mailboxes[prompt.id] = mailbox
        self._link.send(Add.of(prompt))
        return mailbox

    def _receive(self, message: ToGateway) -> None:
        match message:
            case Step(rows=rows, stats=stats):
                self._note_proof(stats)
                for row in rows:
                    self._deliver(row)
            case Heartbeat(stats=stats) | Encoding(stats=stats):
                self._note_proof(stats)
            case Encoded(id=request_id):
                self._settle(request_id, message)
            case Refused(id=request_id, code=code, message=text):
                self._refuse(request_id, error_of(code, text))
            case Busy(seconds=seconds, computing=computing):
                self._vigil.expect(seconds, computing=computing)
            case _:
                self._note_life(message)

    def _note_life(self, message: Loading | Ready | LoadFailed | Fallen) -> None:
        """From the beginning to the end."""
        match message:
            case Loading():
                self._endpoint.remove()
            case Ready(stats=stats):
                self._note_proof(stats)
                self._vigil.loading = False
                self._loaded.set_result(message)
            case LoadFailed(code=code, message=text):
                self._end(error_of(code, text))
            case Fallen(message=text):
                self._die(judge_exit(1, text, oom_kills=None, pressed=False), text)

    def _deliver(self, row: Row) -> None:
        mailbox = self._mailboxes.get(row.id)
        if mailbox is not None:
            mailbox.put(row)

    def _settle(self, request_id: str, encoded: Encoded) -> None:
        answer = self._encodings.get(request_id)
        if answer is not None and not answer.done():
            answer.set_result(encoded)

    def _refuse(self, request_id: str, error: PomonaError) -> None:
        answer = self._encodings.get(request_id)
        if answer is not None and not answer.done():
            answer.set_exception(error)
        if request_id in self._mailboxes:
            self._mailboxes[request_id].fail(error)

    def _note_proof(self, stats: EngineCounters) -> None:
        self.stats = stats
        self.proved_at = time.monotonic()
        self._vigil.hear()

    def _end(self, error: PomonaError) -> None:
        """From now on every stream fails with `error`, but for those that failed or finished before."""
        if not self.ended.done():
            self.was_idle = not self._encodings and all(mailbox.finished for mailbox in self._mailboxes.values())
            self.ended.set_result(error)
            for mailbox in self._mailboxes.values():
                mailbox.fail(error)
            for request_id in self._encodings:
                self._refuse(request_id, error_of(error.code, error.message))

    def _let_go(self) -> None:
        self._link.close()
        self._endpoint.remove()

    async def _watch_exit(self) -> None:
        code = await asyncio.shield(self._child.exited)
        if code > 0:  # it ended itself, and said why
            await asyncio.wait([self.ended], timeout=LAST_WORDS_SECONDS)
        self._link.take()
        if self.ended.done():
            return
        words = last_words(self._child.written)
        death = judge_exit(code, words, oom_kills=self._oom_count.kills, pressed=self._pressed())
        said = f": {words}" if words else ""
        doing = "worked" if self._loaded.done() else "loaded the model"
        self._die(death, f"The engine process of {self._model!r} {describe_exit(code)} while it {doing}{said}")

    def _die(self, death: Death, what: str, then: str = "") -> None:
        """`what` has happened; the client had better do what is said `then`."""
        self.death = replace(death, what=what)
        then = then or (death.advice if self._loaded.done() else "Its log says more.")
        self._end(EngineFailed(f"{what}. {then}"))

    async def _watch_silence(self) -> None:
        """End a process that hangs. Silence while this process slept is none."""
        interval = self._vigil.interval
        while not self.ended.done():
            went_to_sleep = time.monotonic()
            await asyncio.sleep(interval)
            overslept = time.monotonic() - went_to_sleep - interval
            if overslept > interval:
                self._vigil.oversleep(overslept)
            hang = self._vigil.look()
            if hang is not None and not self.ended.done():
                then = "" if self.replaceable else "It runs inside this program, which must be started again."
                self._die(Death(by_hand=hang.by_hand), f"The engine process of {self._model!r} hung: {hang.reason}", then)
                self._child.kill()

    def _vitals(self) -> Vitals | None:
        return read_vitals(self.pid) if self.replaceable else None
