"""What is said of a trace, and how many traces are kept."""

import json

import pytest

from pomona.core.errors import NotFound
from pomona.core.metrics import Metrics
from pomona.core.records import RequestRecord
from pomona.core.tracing.marks import RequestTrace, TraceParent
from pomona.server.tracing.explaining import explain, observe_in, server_timing, summarize
from pomona.server.tracing.middleware import parent_of
from pomona.server.tracing.store import Kept, TraceStore
from tests.unit.server.tracing.story import Clock, answer_it, arrive, go_to_engine, kept_of

REQUESTS = {"long": "req_long"}


def explained(kept: Kept) -> dict[str, object]:
    return explain(kept, lambda id: REQUESTS.get(id, id))


def record(id: str, outcome: str = "ok") -> RequestRecord:
    return RequestRecord(id=id, endpoint="chat.completions", model="tiny", outcome=outcome, seconds=1.0)


def settled(store: TraceStore, id: str) -> RequestTrace:
    """One more request that is over."""
    trace = arrive(Clock(), id)
    trace.close()
    store.keep(trace)
    store(record(trace.call_id))
    store.settle(trace)
    return trace


def test_the_summary_names_the_largest_things_and_who_was_in_the_way() -> None:
    clock = Clock()
    document = explained(answer_it(arrive(clock), clock))
    assert document["summary"] == [
        "5.0 s of 18.8 s: making tokens",
        "2.5 s of 18.8 s: waited behind the prompt of req_long (2,048 tokens)",
        "2.0 s of 18.8 s: waiting for the model to be in memory",
        "2.0 s of 18.8 s: computing its prompt",
        "2.0 s of 18.8 s: stalled between tokens by the prompts of others, 1.5 s of it by req_long (1,024 tokens)",
        "1.0 s of 18.8 s: receiving the request's body",
        "60 of 160 prompt tokens came out of the cache",
    ]
    assert document["delays"] == [
        {"kind": "behind", "request": "req_long", "answer": "long", "seconds": 2.5, "tokens": 2048},
        {"kind": "stall", "request": "req_long", "answer": "long", "seconds": 1.5, "tokens": 1024},
        {"kind": "stall", "request": None, "answer": None, "seconds": 0.5, "tokens": 64},
    ]


def test_phases_and_timeline_add_up_to_the_whole() -> None:
    clock = Clock()
    document = json.loads(json.dumps(explained(answer_it(arrive(clock), clock))))
    assert sum(phase["seconds"] for phase in document["phases"]) == document["seconds"] == 18.75
    assert sum(item["seconds"] for item in document["timeline"]) == 18.75
    assert sum(phase["share"] for phase in document["phases"]) == pytest.approx(1, abs=0.001)
    assert document["first_token_seconds"] == 18.25
    assert document["engine"]["prefill_seconds"] == 2.0
    assert document["beside"] == {"parse_seconds": 0.125, "encode_seconds": 0.125, "write_seconds": 0.0}


def test_a_list_says_what_runs_does_now() -> None:
    clock = Clock()
    trace = arrive(clock)
    go_to_engine(trace, clock)
    clock.pass_(20.0)
    shown = summarize(Kept(trace=trace))
    assert (shown["outcome"], shown["running"], shown["now"], shown["seconds"]) == ("running", True, "engine", 25.0)
    assert shown["longest"] == {"name": "engine", "phase": "engine", "seconds": 20.0}


def test_an_end_that_was_not_well_is_told() -> None:
    clock = Clock()
    trace = arrive(clock)
    trace.close()
    assert explained(kept_of(trace, "rate_limited"))["outcome"] == "rate_limited"
    assert "ended with: rate_limited" in str(explained(kept_of(trace, "rate_limited"))["summary"])
    assert explained(Kept(trace=trace))["outcome"] == "cancelled"


def test_an_answer_that_joined_another_says_so() -> None:
    clock = Clock()
    trace = arrive(clock)
    trace.answer("chatcmpl-2").join("chatcmpl-1")
    clock.pass_(8.0)
    document = explained(Kept(trace=trace))
    assert "joined the answer chatcmpl-1" in str(document["summary"])


def test_whole_answers_have_server_timing_and_streams_have_none() -> None:
    clock = Clock()
    trace = arrive(clock)
    go_to_engine(trace, clock)
    assert server_timing(trace) == ""
    trace.answers[0].close()
    assert server_timing(trace) == "receive;dur=1500.0, control;dur=500.0, load;dur=2000.0, template;dur=1000.0, total;dur=5000.0"


def test_phases_are_counted_once_when_all_is_over() -> None:
    clock, metrics = Clock(), Metrics()
    store = TraceStore(10, 10**6, at_end=(observe_in(metrics),))
    trace = arrive(clock)
    store.keep(trace)
    answer_it(trace, clock)
    store.settle(trace)
    store.settle(trace)
    name, labels = "pomona_request_phase_seconds", {"model": "tiny", "phase": "stall"}
    assert metrics.registry.get_sample_value(f"{name}_count", labels) == 1
    assert metrics.registry.get_sample_value(f"{name}_sum", labels) == 2.0


@pytest.mark.parametrize("name", ["req_1", "chatcmpl-req_1", "chatcmpl-req_1-3", "0af7651916cd43dd8448eb211c80319c"])
def test_a_request_is_found_by_every_id_that_clients_see(name: str) -> None:
    store, trace = TraceStore(10, 10**6), arrive(Clock())
    trace.parent = TraceParent(trace_id="0af7651916cd43dd8448eb211c80319c", span_id="b7ad6b7169203331", sampled=True)
    store.keep(trace)
    trace.answer("chatcmpl-req_1-3")
    store.keep(trace)
    assert store.find(name).trace is trace


def test_the_oldest_go_first_and_those_that_run_stay() -> None:
    store, running = TraceStore(3, 10**6), arrive(Clock(), "running")
    store.keep(running)
    for number in range(6):
        settled(store, f"r{number}")
    assert [kept.trace.id for kept in store.newest_first()] == ["r5", "r4", "running"]
    with pytest.raises(NotFound, match=r"No request 'r0' is among the 3 that are kept\. .*tracing\.requests"):
        store.find("r0")


def test_bytes_are_bounded_too_and_given_back() -> None:
    store = TraceStore(10_000, 50_000)
    for number in range(500):
        settled(store, f"r{number}")
        assert store.bytes <= 50_000
    assert 5 < len(store.newest_first()) < 50


def test_an_id_that_comes_twice_means_the_last_one() -> None:
    store = TraceStore(2, 10**6)
    first, second = settled(store, "same"), settled(store, "same")
    assert store.find("same").trace is second
    settled(store, "other")
    assert first not in [kept.trace for kept in store.newest_first()]
    assert store.find("same").trace is second


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "b7ad6b7169203331"),
        ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more", "b7ad6b7169203331"),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", None),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", None),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_traceparent_is_read_as_the_standard_has_it(header: str, span: str | None) -> None:
    found = parent_of(header)
    assert (found.span_id if found else None) == span


@pytest.mark.parametrize("outcome", ["running", "cancelled", "engine_failed"])
def test_tokens_are_counted_as_far_as_an_answer_came(outcome: str) -> None:
    clock = Clock()
    trace = arrive(clock)
    answer = go_to_engine(trace, clock)
    answer.prompt_tokens, answer.cached_tokens, answer.tokens = 160, 64, 7
    kept = Kept(trace=trace, records=[] if outcome == "running" else [record(trace.call_id, outcome)])
    assert [summarize(kept)[f"{name}_tokens"] for name in ("prompt", "cached", "completion")] == [160, 64, 7]
