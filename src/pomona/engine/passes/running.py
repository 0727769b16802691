"""The pass that runs. The next one is started behind it, or when it has run."""

from collections.abc import Callable

from pomona.engine.passes.runner import Runner
from pomona.engine.passes.work import Pass
from pomona.engine.scheduling.meter import Meter, PassShape


class Running:
    """Starts one engine's passes, and times them. `ended` is called with each as soon as it has run."""

    def __init__(self, runner: Runner, meter: Meter, ended: Callable[[Pass], None]) -> None:
        self.work: Pass | None = None
        self._runner = runner
        self._meter = meter
        self._ended = ended

    def start(self, work: Pass, shape: PassShape | None) -> Pass | None:
        """Start a pass when the one before has run, or while it does; that one, which has run now. One of no `shape` teaches nothing."""
        work.waited = self.work is None
        self._meter.begin(shape)
        if self._runner.ahead:
            self._runner.start(work)
        self._wait()
        if not self._runner.ahead:
            self._runner.start(work)
        finished, self.work = self.work, work
        return finished

    def finish(self) -> Pass | None:
        """Wait for the pass that runs, without starting another."""
        self._wait()
        finished, self.work = self.work, None
        return finished

    def _wait(self) -> None:
        self._meter.wait()
        self._runner.wait(self.work)
        if self.work is not None:
            self._meter.end()
            self._ended(self.work)
