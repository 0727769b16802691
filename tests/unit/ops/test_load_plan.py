"""What the load generator sends, and when, is drawn from one seed."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.errors import InvalidRequest
from pomona.ops.load.plan import Lengths, LoadPlan, calls, is_loopback
from pomona.ops.load.prompts import PromptWriter, words

URL = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("text", "shape", "values"),
    [
        ("128", "fixed", (128,)),
        ("64-512", "range", (64, 512)),
        ("32,512,64", "choice", (32, 512, 64)),
        ("exp:200", "exponential", (200,)),
    ],
)
def test_lengths_are_read(text: str, shape: str, values: tuple[int, ...]) -> None:
    lengths = Lengths.parse(text)

    assert (lengths.shape, lengths.values) == (shape, values)


@pytest.mark.parametrize("text", ["", "abc", "0", "-5", "10-", "512-64", "exp:0", "exp:x", "1,,2", "0-3", "99999999"])
def test_bad_lengths_are_refused_with_the_value(text: str) -> None:
    with pytest.raises(InvalidRequest) as failure:
        Lengths.parse(text)

    assert repr(text) in failure.value.message


@given(st.sampled_from(["128", "64-512", "32,512", "exp:50"]), st.integers())
def test_drawn_lengths_lie_in_their_distribution(text: str, seed: int) -> None:
    drawn = Lengths.parse(text).draw(random.Random(seed))

    assert {"128": drawn == 128, "64-512": 64 <= drawn <= 512, "32,512": drawn in {32, 512}, "exp:50": 1 <= drawn <= 400}[text]


def test_the_same_seed_makes_the_same_calls() -> None:
    plan = LoadPlan(url=URL, model="m", rate=5.0, requests=50, prompt_tokens=Lengths.parse("8-64"), seed=7)

    assert list(calls(plan)) == list(calls(plan))
    assert [call.seed for call in calls(plan)] != [call.seed for call in calls(LoadPlan(url=URL, model="m", requests=50, seed=8))]


def test_open_loop_arrivals_have_the_mean_and_variance_of_poisson() -> None:
    plan = LoadPlan(url=URL, model="m", rate=20.0, requests=20_001, seed=1)
    times = [call.at or 0.0 for call in calls(plan)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)

    assert mean == pytest.approx(1 / 20, rel=0.03)
    assert variance == pytest.approx(mean**2, rel=0.06)


def test_closed_loop_calls_have_no_time_and_no_end() -> None:
    endless = calls(LoadPlan(url=URL, model="m"))

    assert [call.at for call in itertools.islice(endless, 100)] == [None] * 100


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:11440", True),
        ("http://localhost:80/", True),
        ("http://[::1]:9", True),
        ("http://127.8.9.1", True),
        ("http://10.0.0.1", False),
        ("https://api.example.com/v1", False),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1@example.com", False),
    ],
)
def test_loopback_is_told_from_the_rest(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


@pytest.mark.parametrize("url", ["", "localhost:80", "ftp://localhost", "http://", "http://[", "http://localhost:x"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        is_loopback(url)


def test_prompts_have_the_calibrated_length_and_no_common_beginning() -> None:
    writer = PromptWriter.from_counts((50, 70), (200, 220))
    first, second = writer.write(120, 1), writer.write(120, 2)

    assert len(first.split()) == len(second.split()) == 100
    assert first == writer.write(120, 1)
    assert first.split()[:10] != second.split()[:10]


def test_a_prompt_is_never_empty() -> None:
    assert PromptWriter.from_counts((50, 500), (200, 2000)).write(1, 3) in set(words(5000, 0).split())
