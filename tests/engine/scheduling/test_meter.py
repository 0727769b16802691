"""What passes are said to cost where the host builds one while the device runs another."""

from dataclasses import dataclass, field

import pytest

from pomona.engine.scheduling.costs import PassCosts, pairs_of
from pomona.engine.scheduling.meter import Meter, PassShape


@dataclass
class Device:
    """Runs passes one behind the other; `meter` is told as the engine tells it."""

    costs: PassCosts = field(default_factory=PassCosts)
    now: float = 0.0
    free_at: float = 0.0
    in_flight: float | None = None

    def __post_init__(self) -> None:
        self.meter = Meter(self.costs, lambda: self.now)

    def start(self, shape: PassShape, *, host: float, device: float) -> None:
        self.meter.begin(shape)
        self.now += host
        self.free_at = max(self.free_at, self.now) + device
        before, self.in_flight = self.in_flight, self.free_at
        if before is not None:
            self.meter.wait()
            self.now = max(self.now, before)
            self.meter.end()

    def decode(self, rows: int = 32, *, host: float = 3e-3, device: float = 6e-3) -> None:
        self.start(PassShape(lines=rows, context=500.0 * rows), host=host, device=device)

    def read(self, tokens: int, *, host: float, device: float) -> None:
        self.start(PassShape(tokens=tokens, context=pairs_of(tokens, 0)), host=host, device=device)

    @property
    def decode_seconds(self) -> float:
        return self.costs.decode_seconds(32, 500.0 * 32)


def test_passes_that_keep_the_device_busy_take_what_they_take() -> None:
    device = Device()
    for _ in range(12):
        device.decode()
        device.read(512, host=8e-3, device=20e-3)
        device.read(512, host=8e-3, device=20e-3)
    assert device.costs.prefill_seconds(512, 0) == pytest.approx(20e-3, rel=0.15)


def test_what_the_host_takes_to_build_a_prompts_pass_is_not_the_cost_of_decoding() -> None:
    """A pass of a prompt is not compiled: where the host is busy, decoding ends long before that is built."""
    device = Device()
    for _ in range(20):
        device.decode()
    for _ in range(40):
        device.decode()
        device.read(128, host=15e-3, device=8e-3)
    assert device.decode_seconds == pytest.approx(6e-3, rel=0.1)
    step = device.decode_seconds + device.costs.prefill_seconds(128, 0)
    assert step == pytest.approx(15e-3 + 8e-3, rel=0.2)  # until the prompt's pass has run, which the next one waits for


def test_attention_that_is_planned_costs_the_prompt_and_not_the_streams() -> None:
    device = Device()
    for _ in range(20):
        device.decode()
    for number in range(30):
        device.decode()
        device.read(128, host=8e-3 + (40e-3 if number % 2 else 0.0), device=8e-3)
    assert device.decode_seconds == pytest.approx(6e-3, rel=0.1)


def test_a_host_that_is_always_behind_is_what_decoding_costs() -> None:
    device = Device()
    for _ in range(20):
        device.decode(host=7e-3, device=4e-3)
    assert device.decode_seconds == pytest.approx(7e-3, rel=0.1)


def test_nothing_is_learned_of_a_prompt_whose_pass_ran_while_nobody_knew_what_decoding_costs() -> None:
    """The very first pass that decodes ends unseen while kernels are compiled for the prompt behind it, which seems quick then."""
    device = Device()
    device.decode(host=2.0, device=6e-3)
    device.read(32, host=2.0, device=5e-3)
    device.decode(host=8e-3, device=6e-3)
    device.decode()
    assert device.costs.prefill_seconds(32, 0) == PassCosts().prefill_seconds(32, 0)
