"""Which silence is a hang, by a clock and vitals that the test sets."""

from dataclasses import dataclass

import pytest

from pomona.core.settings import FleetSettings
from pomona.fleet.process.vigil import Hang, Vigil, Vitals

SETTINGS = FleetSettings(hang_seconds=8, busy_seconds=100)


@dataclass
class Process:
    """One that uses `share` of a core."""

    time: float = 0.0
    cpu: float = 0.0
    share: float = 0.0
    stopped: bool = False
    compiles: bool = False
    known: bool = True

    def vigil(self, *, loading: bool = False) -> Vigil:
        vigil = Vigil(SETTINGS, self.vitals, lambda: self.compiles, lambda: self.time)
        vigil.loading = loading
        return vigil

    def vitals(self) -> Vitals | None:
        return Vitals(stopped=self.stopped, cpu_seconds=self.cpu) if self.known else None

    def watch(self, vigil: Vigil, seconds: float) -> tuple[float, Hang] | None:
        """When something was found wrong within `seconds` from now, and what."""
        begun = self.time
        while self.time < begun + seconds:
            self.time += vigil.interval
            self.cpu += 0.0 if self.stopped else vigil.interval * self.share
            found = vigil.look()
            if found is not None:
                return self.time - begun, found
        return None


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_silence_is_a_hang_whether_it_loops_or_waits(share: float) -> None:
    process = Process(share=share)
    found = process.watch(process.vigil(), 100)
    assert found is not None
    assert (found[0] < 8.5, found[1].by_hand) == (True, False)


def test_who_speaks_does_not_hang() -> None:
    process = Process()
    vigil = process.vigil()
    for _ in range(10):
        assert process.watch(vigil, 7) is None
        vigil.hear()


@pytest.mark.parametrize("loading", [False, True])
def test_a_stopped_process_is_found_in_a_long_step_and_while_it_loads(loading: bool) -> None:
    process = Process(share=1.0)
    vigil = process.vigil(loading=loading)
    vigil.expect(90, computing=True)
    assert process.watch(vigil, 30) is None
    process.stopped = True
    found = process.watch(vigil, 30)
    assert found is not None
    assert (8 <= found[0] < 9, found[1].by_hand) == (True, True)


def test_one_that_was_stopped_for_a_moment_goes_on() -> None:
    process = Process(share=1.0)
    vigil = process.vigil()
    vigil.expect(90, computing=True)
    for stopped in (False, True) * 5:
        process.stopped = stopped
        assert process.watch(vigil, 7) is None


def test_a_long_step_that_was_announced_may_last_while_it_computes() -> None:
    process = Process(share=0.1)
    vigil = process.vigil()
    vigil.expect(60, computing=True)
    assert process.watch(vigil, 59) is None
    assert process.watch(vigil, 2) is not None


def test_a_step_that_computes_nothing_is_a_hang_although_it_was_announced() -> None:
    process = Process(share=1.0)
    vigil = process.vigil()
    vigil.expect(90, computing=True)
    assert process.watch(vigil, 20) is None
    process.share = 0.001
    found = process.watch(vigil, 60)
    assert found is not None
    assert (found[0] < 9.5, "idle" in found[1].reason) == (True, True)


def test_a_step_that_may_leave_the_cpu_idle_has_its_time() -> None:
    process = Process()
    vigil = process.vigil()
    vigil.expect(60, computing=False)
    assert process.watch(vigil, 59) is None
    assert process.watch(vigil, 2) is not None


def test_nobody_is_patient_for_longer_than_the_settings_say() -> None:
    process = Process(share=1.0)
    vigil = process.vigil()
    vigil.expect(5000, computing=True)
    found = process.watch(vigil, 200)
    assert found is not None
    assert 100 <= found[0] <= 101


def test_a_compiler_below_it_is_waited_for() -> None:
    process = Process(compiles=True)
    vigil = process.vigil()
    assert process.watch(vigil, 50) is None
    process.compiles = False
    assert process.watch(vigil, 1) is not None


def test_a_compiler_that_never_ends_is_not() -> None:
    process = Process(compiles=True)
    found = process.watch(process.vigil(), 200)
    assert found is not None
    assert 100 <= found[0] <= 101


def test_our_own_sleep_is_no_sign() -> None:
    process = Process()
    vigil = process.vigil()
    process.time += 50
    vigil.oversleep(50)
    assert vigil.look() is None
    assert process.watch(vigil, 7.5) is None


def test_without_vitals_only_silence_counts() -> None:
    process = Process(known=False)
    vigil = process.vigil()
    vigil.expect(60, computing=True)
    assert process.watch(vigil, 59) is None
    assert process.watch(vigil, 2) is not None
