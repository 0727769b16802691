"""The suite's own eyes: what they must see, and that a seed says everything."""

from itertools import pairwise

import pytest

from tests.chaos.plan import KILLS, PROMPTS, Ask, Nonsense, make_plan
from tests.chaos.wires import Answer, read_answer

STREAM = (
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"content":"Once"},"finish_reason":null}]}\n\n'
    b": keepalive\n\n"
    b'data: {"choices":[{"index":0,"delta":{"content":" upon"},"finish_reason":"length"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
)
END = b"data: [DONE]\n\n"


def test_a_seed_says_everything() -> None:
    assert make_plan(7, 200) == make_plan(7, 200)
    assert make_plan(7, 200) != make_plan(8, 200)


def test_a_plan_holds_everything_that_can_go_wrong() -> None:
    plan = make_plan(7, 500)
    asks = [each for each in plan.requests if isinstance(each, Ask)]
    assert (len(asks), sum(isinstance(each, Nonsense) for each in plan.requests)) == (500, 100)
    assert {ask.manner for ask in asks} == {"reads", "stalls", "drips", "rst", "fin", "half", "leaves"}
    assert {fault.kind for fault in plan.faults} == {"kill", "abort", "hang", "pause", "clock", "fill", "free", "spoil", "load", "unload"}
    assert all(first.after <= second.after for first, second in pairwise(plan.faults))
    fillings = [fault.kind for fault in plan.faults if fault.kind in {"fill", "free"}]
    assert fillings == ["fill", "free"] * (len(fillings) // 2)
    assert all(ask.question.prompt < len(PROMPTS) for ask in asks)
    quiet = make_plan(7, 500, kills=False, disks=False)
    assert {fault.kind for fault in quiet.faults}.isdisjoint({*KILLS, "fill", "free"})


def test_an_answer_is_read_as_it_was_sent() -> None:
    answer = read_answer("chat", STREAM + END, streamed=True)
    assert answer == Answer(text="Once upon", tokens=2, reason="length", complete=True)
    assert answer.same(Answer(text="Once upon", tokens=2, reason="length"))


@pytest.mark.parametrize(
    "sent",
    [
        STREAM.replace(b' upon"', b'"') + END,
        STREAM.replace(b' upon"', b' upon upon"') + END,
        STREAM.replace(b'tokens":2', b'tokens":3') + END,
        STREAM.replace(b'"length"', b'"stop"') + END,
    ],
    ids=["a token is lost", "a token is repeated", "a token is counted twice", "it ended otherwise"],
)
def test_what_differs_is_seen(sent: bytes) -> None:
    expected = read_answer("chat", STREAM + END, streamed=True)
    assert not read_answer("chat", sent, streamed=True).same(expected)


def test_an_answer_without_an_end_is_seen() -> None:
    assert not read_answer("chat", STREAM, streamed=True).complete
    assert read_answer("chat", STREAM + END + STREAM, streamed=True).problems != []
    failed = b'data: {"error":{"message":"It died.","type":"server_error","param":null,"code":"engine_failed"}}\n\n'
    assert read_answer("completions", failed, streamed=True).error == "It died."


def test_a_response_whose_end_does_not_say_what_its_pieces_said_is_seen() -> None:
    piece = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"Once"}\n\n'
    end = (
        b'event: response.completed\ndata: {"type":"response.completed","response":{"status":"completed","usage":{"output_tokens":1},'
        b'"output":[{"type":"message","content":[{"type":"output_text","text":"Twice"}]}]}}\n\n'
    )
    assert read_answer("responses", piece + end, streamed=True).problems == ["the pieces said 'Once', the end says 'Twice'"]
    assert read_answer("responses", piece + end.replace(b"Twice", b"Once"), streamed=True).problems == []
