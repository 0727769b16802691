"""Responses that are kept: continued, shown, listed, forgotten, and made in the background."""

import asyncio
from collections.abc import Generator
from typing import Any

import httpx
import pytest
from openai import BadRequestError, NotFoundError

from pomona.control.keys import KeyRing, make_key
from pomona.core.errors import EngineFailed
from pomona.core.metrics import Metrics
from pomona.core.settings import ResponsesSettings, Settings
from pomona.server.application import create_public_app
from tests.api.gateway import MODEL, Gateway, running
from tests.api.responses.scripts import called, said, script, thought
from tests.doubles import answer


def read(gateway: Gateway) -> list[tuple[str, str]]:
    """What the generator was asked last."""
    return [(message.role, message.text) for message in gateway.generator.seen[-1].messages or ()]


def test_a_response_can_be_asked_for_again(gateway: Gateway) -> None:
    client = gateway.openai()
    made = client.responses.create(model=MODEL, input="x")
    assert client.responses.retrieve(made.id).to_dict() == made.to_dict()
    with client.responses.stream(model=MODEL, input="y") as stream:
        streamed = stream.get_final_response()
    assert client.responses.retrieve(streamed.id).output_text == "Hello world"
    client.responses.delete(made.id)
    with pytest.raises(NotFoundError, match=made.id):
        client.responses.retrieve(made.id)
    with pytest.raises(NotFoundError):
        client.responses.delete(made.id)


def test_what_is_not_to_be_stored_is_not(gateway: Gateway) -> None:
    made = gateway.openai().responses.create(model=MODEL, input="x", store=False)
    assert made.to_dict()["store"] is False
    with pytest.raises(NotFoundError):
        gateway.openai().responses.retrieve(made.id)


def test_a_chain_of_responses(gateway: Gateway) -> None:
    client = gateway.openai()
    gateway.generator.script = script(thought("Hm."), said("One."), called("look", "{}"))
    first = client.responses.create(model=MODEL, input="a", instructions="Old.", prompt_cache_key="key")
    gateway.generator.script = script(said("Two."))
    second = client.responses.create(
        model=MODEL,
        input=[{"type": "function_call_output", "call_id": "call_0", "output": "seen"}],
        previous_response_id=first.id,
        instructions="New.",
    )
    assert second.previous_response_id == first.id
    third = client.responses.create(model=MODEL, input="c", previous_response_id=second.id)
    assert read(gateway) == [("user", "a"), ("assistant", "One."), ("tool", "seen"), ("assistant", "Two."), ("user", "c")]
    turn = list(gateway.generator.seen[-1].messages or ())[1]
    assert (turn.reasoning, turn.tool_calls[0].id) == ("Hm.", "call_0")
    assert [request.session for request in gateway.generator.seen] == ["key", "key", "key"]
    client.responses.delete(first.id)
    client.responses.delete(second.id)
    client.responses.create(model=MODEL, input="d", previous_response_id=third.id)
    assert len(read(gateway)) == 7


def test_a_chain_is_a_session_of_its_own(gateway: Gateway) -> None:
    client = gateway.openai()
    first = client.responses.create(model=MODEL, input="a")
    second = client.responses.create(model=MODEL, input="b", previous_response_id=first.id)
    client.responses.create(model=MODEL, input="c", previous_response_id=second.id)
    assert [request.session for request in gateway.generator.seen] == ["", first.id, first.id]


def test_a_reference_to_an_item(gateway: Gateway) -> None:
    client = gateway.openai()
    first = client.responses.create(model=MODEL, input="a")
    reference: Any = {"type": "item_reference", "id": first.output[0].id}
    client.responses.create(model=MODEL, input=[reference, {"role": "user", "content": "b"}])
    assert read(gateway) == [("assistant", "Hello world"), ("user", "b")]
    with pytest.raises(NotFoundError, match="msg_nobody"):
        client.responses.create(model=MODEL, input=[{"type": "item_reference", "id": "msg_nobody"}])


def test_an_item_is_no_response(gateway: Gateway) -> None:
    first = gateway.openai().responses.create(model=MODEL, input="a")
    item_id = first.output[0].id
    assert item_id is not None
    with pytest.raises(NotFoundError):
        gateway.openai().responses.retrieve(item_id)
    with pytest.raises(NotFoundError):
        gateway.openai().responses.create(model=MODEL, input="b", previous_response_id=item_id)


def test_a_failed_stream_is_kept_as_failed(gateway: Gateway) -> None:
    gateway.generator.script = [*answer("Hel")[:2], EngineFailed("The engine died.")]
    *_, last = gateway.openai().responses.create(model=MODEL, input="x", stream=True)
    assert last.type == "response.failed"
    assert gateway.openai().responses.retrieve(last.response.id).status == "failed"


def test_input_items_by_page(gateway: Gateway) -> None:
    client = gateway.openai()
    items: list[Any] = [{"role": "user", "content": f"{number}"} for number in range(5)]
    items.append({"type": "function_call_output", "call_id": "c", "output": "o"})
    made = client.responses.create(model=MODEL, input=items)
    newest = client.responses.input_items.list(made.id, limit=2)
    assert [item.type for item in newest.data] == ["function_call_output", "message"]
    assert newest.has_more
    everything = list(client.responses.input_items.list(made.id, limit=2, order="asc"))
    assert [item.to_dict()["content"][0]["text"] for item in everything[:5]] == ["0", "1", "2", "3", "4"]  # pyright: ignore[reportIndexIssue]
    assert len({item.id for item in everything}) == 6
    after = client.responses.input_items.list(made.id, order="asc", after=everything[3].id)
    assert [item.id for item in after.data] == [item.id for item in everything[4:]]
    assert not after.has_more
    with pytest.raises(BadRequestError, match="msg_nobody"):
        client.responses.input_items.list(made.id, after="msg_nobody")
    with pytest.raises(BadRequestError, match="limit"):
        client.responses.input_items.list(made.id, limit=101)
    with pytest.raises(NotFoundError):
        client.responses.input_items.list("resp_nobody")


def test_a_response_in_the_background(gateway: Gateway) -> None:
    client, gate = gateway.openai(), asyncio.Event()
    gateway.generator.script = [*answer("Hel")[:2], gate, *answer("lo")[1:]]
    made = client.responses.create(model=MODEL, input="x", background=True)
    assert (made.status, made.background, made.output) == ("queued", True, [])
    gateway.wait_for(gateway.generator.begun)
    assert client.responses.retrieve(made.id).status in ("queued", "in_progress")
    assert [item.type for item in client.responses.input_items.list(made.id).data] == ["message"]
    gateway.set(gate)
    gateway.wait_for(gateway.generator.ended)
    assert poll(gateway, made.id).output_text == "Hello"


def test_a_background_stream_can_be_left_and_taken_up_again(gateway: Gateway) -> None:
    client, gate = gateway.openai(), asyncio.Event()
    gateway.generator.script = [*answer("Hel")[:2], gate, *answer("lo")[1:]]
    seen: list[Any] = []
    with client.responses.create(model=MODEL, input="x", background=True, stream=True) as stream:
        for event in stream:
            seen.append(event)
            if event.type == "response.output_text.delta":
                break
    kinds = [event.type for event in seen]
    assert kinds[:3] == ["response.created", "response.queued", "response.in_progress"]
    response_id = seen[0].response.id
    gateway.set(gate)
    with client.responses.retrieve(response_id, stream=True, starting_after=seen[-1].sequence_number) as stream:
        rest = list(stream)
    assert [event.sequence_number for event in [*seen, *rest]] == list(range(len(seen) + len(rest)))
    assert rest[-1].type == "response.completed"
    poll(gateway, response_id)
    with client.responses.stream(response_id=response_id) as again:
        assert again.get_final_response().output_text == "Hello"


def test_a_background_response_is_cancelled(gateway: Gateway) -> None:
    client = gateway.openai()
    gateway.generator.script = [*answer("Hel")[:2], gateway.never]
    made = client.responses.create(model=MODEL, input="x", background=True)
    gateway.wait_until(lambda: gateway.generator.pulled == 2)
    cancelled = client.responses.cancel(made.id)
    assert cancelled.status == "cancelled"
    assert cancelled.output_text == "Hel"
    assert gateway.generator.running == 0
    assert gateway.generator.closed_early == [gateway.generator.seen[0].id]
    assert client.responses.retrieve(made.id).status == "cancelled"
    assert client.responses.cancel(made.id).status == "cancelled"
    *_, last = client.responses.retrieve(made.id, stream=True)
    assert last.type == "response.failed"


def test_only_background_responses_can_be_cancelled_or_followed(gateway: Gateway) -> None:
    client = gateway.openai()
    made = client.responses.create(model=MODEL, input="x")
    with pytest.raises(BadRequestError, match="background"):
        client.responses.cancel(made.id)
    with pytest.raises(BadRequestError, match="background"):
        client.responses.retrieve(made.id, stream=True)
    with pytest.raises(NotFoundError):
        client.responses.cancel("resp_nobody")


def test_a_background_response_that_fails(gateway: Gateway) -> None:
    gateway.generator.script = (EngineFailed("The engine died."),)
    made = gateway.openai().responses.create(model=MODEL, input="x", background=True)
    failed = poll(gateway, made.id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error.message == "The engine died."


def test_deleting_stops_the_work(gateway: Gateway) -> None:
    gateway.generator.script = [*answer("Hel")[:2], gateway.never]
    made = gateway.openai().responses.create(model=MODEL, input="x", background=True)
    gateway.wait_for(gateway.generator.begun)
    gateway.openai().responses.delete(made.id)
    assert gateway.generator.running == 0
    with pytest.raises(NotFoundError):
        gateway.openai().responses.retrieve(made.id)


@pytest.fixture
def small() -> Generator[Gateway]:
    """A gateway that keeps little."""
    gateway = Gateway()
    gateway.settings = gateway.settings.model_copy(update={"responses": ResponsesSettings(store_bytes=4000, max_background=1)})
    with running(gateway) as served:
        yield served


def test_the_store_has_an_end(small: Gateway) -> None:
    client = small.openai()
    ids = [client.responses.create(model=MODEL, input="x" * 500).id for _ in range(6)]
    assert client.responses.retrieve(ids[-1]).id == ids[-1]
    with pytest.raises(NotFoundError):
        client.responses.retrieve(ids[0])


def test_the_background_has_an_end_and_ends_with_the_server(small: Gateway) -> None:
    small.generator.script = [*answer("Hel")[:2], small.never]
    body = {"model": MODEL, "input": "x", "background": True}
    assert small.http().post("/v1/responses", json=body).status_code == 200
    refused: httpx.Response = small.http().post("/v1/responses", json=body)
    assert refused.status_code == 503
    assert "background" in refused.json()["error"]["message"]
    small.wait_for(small.generator.begun)


def poll(gateway: Gateway, response_id: str) -> Any:
    """The response at its end."""
    client = gateway.openai()
    while (response := client.responses.retrieve(response_id)).status in ("queued", "in_progress"):
        gateway.wait_for(gateway.generator.ended)
    return response


async def test_each_key_sees_its_own_responses_only() -> None:
    (mine, my_text), (other, other_text) = make_key("mine", now=0), make_key("other", now=0)
    gateway, gate = Gateway(), asyncio.Event()
    app = create_public_app(gateway.backend, Settings(), Metrics(), KeyRing((mine, other)))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:11440") as client:

        async def ask(text: str, method: str, path: str, body: object = None) -> httpx.Response:
            return await client.request(method, f"/v1/responses{path}", json=body, headers={"authorization": f"Bearer {text}"})

        made = (await ask(my_text, "POST", "", {"model": MODEL, "input": "x"})).json()
        gateway.generator.reset([gate, *answer("Hi")])
        at_work = (await ask(my_text, "POST", "", {"model": MODEL, "input": "x", "background": True})).json()
        item = {"type": "item_reference", "id": made["output"][0]["id"]}
        for made_id in (made["id"], at_work["id"]):
            for method, path in (("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")):
                assert (await ask(other_text, method, f"/{made_id}{path}")).status_code == 404
        for body in ({"previous_response_id": made["id"]}, {"input": [item]}):
            assert (await ask(other_text, "POST", "", {"model": MODEL, "input": "x"} | body)).status_code == 404
        assert (await ask(my_text, "GET", f"/{made['id']}")).json() == made
        gate.set()
        await gateway.generator.ended.wait()
        assert (await ask(my_text, "GET", f"/{at_work['id']}")).json()["status"] == "completed"
