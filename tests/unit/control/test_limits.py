"""What a caller may ask for, and what it is told when that is used up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.control.buckets import Bucket
from pomona.control.callers import Allowance, Caller
from pomona.control.limits import MOST_ACCOUNTS, Limiter
from pomona.control.queue import Queue
from pomona.core.errors import InvalidRequest, Overloaded, RateLimited
from pomona.core.generation import Finished, GenerateRequest, Priority, Started, TextDelta, Usage
from pomona.core.messages import Message, TextPart

REQUEST = GenerateRequest(id="r", model="m", token_ids=(1,) * 10, max_tokens=20)


class Time:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def caller(requests: int | None = None, tokens: int | None = None, concurrent: int | None = None) -> Caller:
    allowance = Allowance(requests_per_minute=requests, tokens_per_minute=tokens, concurrent=concurrent)
    return Caller(id="k", name="laptop", account="key k", allowance=allowance)


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 20)), max_size=50))
def test_no_minute_gives_more_than_twice_the_limit_and_never_less_than_the_rate(steps: list[tuple[float, float]]) -> None:
    bucket, now, taken = Bucket(60, 0.0), 0.0, 0.0
    for pause, amount in steps:
        now += pause
        if bucket.wait_seconds(amount, now) == 0:
            bucket.take(amount, now)
            taken += amount
        else:
            later = now + bucket.wait_seconds(amount, now)
            assert bucket.wait_seconds(amount, later) == pytest.approx(0, abs=1e-6)
    assert taken <= 60 + now + 1e-6


def test_requests_come_back_one_by_one(time: Time) -> None:
    limiter, who = Limiter(time), caller(requests=3)
    for _ in range(3):
        with limiter.stay(who, [REQUEST]):
            pass
    with pytest.raises(RateLimited, match="'laptop' may use 3 requests a minute") as caught:
        limiter.check(who, [REQUEST])
    assert caught.value.retry_after == pytest.approx(20)
    time.now += 20.001
    standing = limiter.check(who, [REQUEST])
    assert standing.requests is not None
    assert (standing.requests.limit, standing.requests.remaining) == (3, 0)
    assert standing.requests.reset_seconds == pytest.approx(60, abs=0.1)
    assert standing.tokens is None


def test_an_answer_with_choices_counts_for_each_of_them(time: Time) -> None:
    limiter, who = Limiter(time), caller(requests=4)
    with limiter.stay(who, [REQUEST] * 3):
        pass
    with pytest.raises(RateLimited):
        limiter.check(who, [REQUEST] * 2)
    limiter.check(who, [REQUEST])


def test_answers_at_a_time(time: Time) -> None:
    limiter, who = Limiter(time), caller(concurrent=2)
    with limiter.stay(who, [REQUEST]):
        with limiter.stay(who, [REQUEST]), pytest.raises(RateLimited, match="2 answers at a time; 2 are running"):
            limiter.check(who, [REQUEST])
        limiter.check(who, [REQUEST])
    with pytest.raises(InvalidRequest, match="asks for 3 answers"):
        limiter.check(who, [REQUEST] * 3)


def test_a_guess_of_tokens_is_settled_by_what_was_used(time: Time) -> None:
    limiter, who = Limiter(time), caller(tokens=1000)
    with limiter.stay(who, [REQUEST]) as stay:
        assert left(limiter, who) == 1000 - 30
        stay.see(0, Started(prompt_tokens=10))
        stay.see(0, Finished(reason="stop", usage=Usage(prompt_tokens=10, cached_tokens=8, completion_tokens=100)))
        assert left(limiter, who) == 1000 - 102
    assert left(limiter, who) == 1000 - 102


def test_an_answer_that_was_cut_off_costs_what_was_seen_of_it(time: Time) -> None:
    limiter, who = Limiter(time), caller(tokens=1000)
    with limiter.stay(who, [REQUEST]) as stay:
        stay.see(0, Started(prompt_tokens=10))
        stay.see(0, TextDelta(text="one"))
        stay.see(0, TextDelta(text=" two"))
    assert left(limiter, who) == 1000 - 12
    with limiter.stay(who, [REQUEST]):
        pass
    assert left(limiter, who) == 1000 - 12


def test_more_tokens_than_a_minute_has_may_be_used_once_the_bucket_is_full(time: Time) -> None:
    limiter, who = Limiter(time), caller(tokens=100)
    words = (Message(role="user", content=(TextPart(text="x" * 4000),)),)
    large = GenerateRequest(id="r", model="m", messages=words)
    with limiter.stay(who, [large]) as stay:
        stay.see(0, Finished(reason="stop", usage=Usage(prompt_tokens=1000, completion_tokens=100)))
    with pytest.raises(RateLimited) as caught:
        limiter.check(who, [REQUEST])
    assert caught.value.retry_after == pytest.approx((1000 + 30) * 0.6, rel=0.2)


def test_a_refusal_takes_nothing(time: Time) -> None:
    limiter, who = Limiter(time), caller(requests=10, tokens=40)
    with limiter.stay(who, [REQUEST]):
        before = limiter.standing(who)
        with pytest.raises(RateLimited, match="tokens a minute"), limiter.stay(who, [REQUEST]):
            pass
        assert limiter.standing(who) == before


def test_changed_limits_hold_at_once_and_running_answers_still_count(time: Time) -> None:
    limiter = Limiter(time)
    with limiter.stay(caller(concurrent=5), [REQUEST]), pytest.raises(RateLimited):
        limiter.check(caller(concurrent=1), [REQUEST])


def test_accounts_of_strangers_are_forgotten_but_not_their_debts(time: Time) -> None:
    limiter, allowance = Limiter(time), Allowance(requests_per_minute=1)
    debtor = Caller(account="debtor", allowance=allowance)
    with limiter.stay(debtor, [REQUEST]):
        pass
    for number in range(MOST_ACCOUNTS + 10):
        limiter.check(Caller(account=f"address {number}", allowance=allowance), [REQUEST])
    with pytest.raises(RateLimited):
        limiter.check(debtor, [REQUEST])


def left(limiter: Limiter, who: Caller) -> int:
    level = limiter.standing(who).tokens
    assert level is not None
    return level.remaining


def make_queue(time: Time, backlog: list[int], most_seconds: float | None = None) -> Queue:
    return Queue(rows=2, places=4, clock=time, backlog=lambda: backlog[0], most_seconds=most_seconds)


def test_who_finds_a_row_does_not_wait_and_who_finds_no_place_is_refused(time: Time) -> None:
    queue = make_queue(time, [0])
    assert queue.check(2, "normal") is None
    with queue.place(2, "normal"):
        wait = queue.check(1, "normal")
        assert wait is not None
        assert wait.position == 1
        with queue.place(2, "normal"), pytest.raises(Overloaded, match=r"4 answers run or wait already.*engine\.max_waiting") as caught:
            queue.check(1, "normal")
        assert caught.value.retry_after >= 1
    with pytest.raises(Overloaded):
        queue.check(5, "normal")
    assert queue.count == 0


def test_who_joins_a_running_answer_needs_no_place(time: Time) -> None:
    queue = make_queue(time, [0])
    with queue.place(4, "normal"):
        assert queue.check(0, "normal") is None


@pytest.mark.parametrize(("priority", "position"), [("low", 2), ("normal", 2), ("high", 1)])
def test_the_position_counts_those_who_go_before(time: Time, priority: Priority, position: int) -> None:
    queue = make_queue(time, [0])
    with queue.place(2, "normal") as running, queue.place(1, "normal"):
        running.see(Started(prompt_tokens=1))
        running.see(TextDelta(text="x"))
        wait = queue.check(1, priority)
    assert wait is not None
    assert wait.position == position


def test_what_the_engine_says_of_waiting_requests_counts(time: Time) -> None:
    backlog = [3]
    queue = make_queue(time, backlog)
    with queue.place(1, "normal"):
        wait = queue.check(1, "normal")
    assert wait is not None
    assert wait.position == 2


def test_the_estimate_follows_how_long_answers_take(time: Time) -> None:
    queue = make_queue(time, [0], most_seconds=50)
    for _ in range(100):
        with queue.place(1, "normal") as place:
            time.now += 100
            place.see(Finished(reason="stop", usage=Usage()))
    with queue.place(2, "normal"):
        wait = queue.check(1, "normal")
        assert wait is not None
        assert wait.seconds == pytest.approx(50, rel=0.01)
        with queue.place(1, "normal"), pytest.raises(Overloaded, match="about 100 seconds"):
            queue.check(1, "normal")
