"""The scheduler on a device that computes while the host goes on: few, large passes that come again, and costs that are learned right."""

from statistics import median

import pytest

from tests.engine.scheduling.asynchronous import Asynchronous, Gpu
from tests.engine.scheduling.simulated import Story, quantile

HOSTS = pytest.mark.parametrize("busy", [1.0, 1.8])
LONG = 8192


@HOSTS
def test_a_lone_prompt_is_read_in_the_fewest_and_largest_passes(busy: float) -> None:
    """The first prompt of all may be read in steps that grow; each further one takes no new plan once all shapes have come again."""
    device = Asynchronous(Gpu(busy=busy))
    first = device.read("0", LONG)[1]
    assert len(first) <= 16
    assert first[-2:] == [(1, 2048), (1, 2047)]
    for number in range(1, 5):
        _, passes = device.read(f"{number}", LONG)
        assert passes == [(1, 2048)] * 3 + [(1, 2047)]
    planned = device.gpu.planned
    story, _ = device.read("last", LONG)
    assert device.gpu.planned == planned == 4
    at_best = 4 * 2.75e-5 * 2048 + 1.1e-9 * LONG * LONG / 2
    assert (story.first or 1.0) < 1.25 * at_best


def test_prompts_that_go_on_behind_others_take_no_further_plans() -> None:
    """Whatever the end of the one before left of a step's budget."""
    device = Asynchronous(Gpu())
    for number in range(3):
        device.read(f"warm-{number}", LONG)
    device.gpu.planned = 0
    stories = [device.add(f"{number}", 7000 + 333 * number, 1) for number in range(4)]
    device.finish()
    assert all(story.first for story in stories)
    assert device.gpu.planned <= 12


@HOSTS
def test_streams_beside_a_long_prompt(busy: float) -> None:
    """Once shapes have come again, steps take what host and device need at least, and decoding is not said to cost more than it does."""
    device, streams = _streaming(Gpu(busy=busy))
    for number in range(5):
        device.read(f"{number}", LONG)
    for story in streams:
        story.gaps.clear()
    _, passes = device.read("last", LONG)
    gaps = device.gaps(story.row.id for story in streams)
    least = 5.8e-3 + max(5.5e-3, (8e-3 + 3e-3) * busy)
    assert quantile(gaps, 0.5) <= 1.15 * least
    assert quantile(gaps, 0.99) <= 1.5 * least
    assert device.scheduler.costs.decode_seconds(32, 32 * 500) == pytest.approx(5.8e-3, rel=0.2)
    assert len(passes) <= 72
    assert {tokens for _, tokens in passes[:-1]} <= {32, 64, 128, 256, 512}


def test_shapes_of_attention_beside_streams_are_few() -> None:
    device, _ = _streaming(Gpu())
    for number in range(6):
        device.read(f"{number}", LONG)
    assert device.gpu.planned <= 4 * len({tokens for _, tokens in device.passes})


@HOSTS
def test_a_crowd_of_short_prompts_is_read_in_few_full_passes(busy: float) -> None:
    device = Asynchronous(Gpu(busy=busy))
    for turn in range(2):
        _crowd(device, f"{turn}")
    device.passes.clear()
    stories = _crowd(device, "last")
    assert len(device.passes) <= 6
    assert device.passes[0] == (16, 127)
    assert median(story.first or 9.0 for story in stories) <= 0.13


def _streaming(gpu: Gpu) -> tuple[Asynchronous, list[Story]]:
    """32 streams under way."""
    device = Asynchronous(gpu)
    streams = [device.add(f"stream-{number}", 256, 40_000) for number in range(32)]
    while any(len(story.gaps) < 60 for story in streams):
        device.step()
    return device, streams


def _crowd(device: Asynchronous, name: str) -> list[Story]:
    """32 short prompts at once, from their arrival to the end of their answers."""
    stories = [device.add(f"{name}-{number}", 128, 64) for number in range(32)]
    device.finish()
    return stories
