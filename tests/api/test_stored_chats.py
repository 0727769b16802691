"""Chat completions that are kept, as the official client lists, changes and deletes them."""

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion

from pomona.core.errors import NotFound
from pomona.server.openai.chat.store import ChatStore, Kept
from tests.api.gateway import MODEL, Gateway


def ask(client: OpenAI, text: str, **metadata: str) -> ChatCompletion:
    return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], store=True, metadata=metadata)


def test_answers_are_kept_listed_changed_and_deleted(gateway: Gateway) -> None:
    client = gateway.openai()
    first, second = ask(client, "One?", topic="a"), ask(client, "Two?", topic="b")
    assert first.metadata == {"topic": "a"}
    kept = client.chat.completions
    assert kept.retrieve(first.id).choices[0].message.content == "Hello world"
    ids = [each.id for each in kept.list(limit=1, order="desc", model=MODEL)]
    assert ids.index(second.id) < ids.index(first.id)
    assert [each.id for each in kept.list(metadata={"topic": "b"}) if each.id in {first.id, second.id}] == [second.id]
    assert kept.update(first.id, metadata={"topic": "c"}).metadata == {"topic": "c"}
    assert [each.id for each in kept.list(metadata={"topic": "c"})] == [first.id]
    assert [(each.role, each.content) for each in kept.messages.list(first.id)] == [("user", "One?")]
    deleted = kept.delete(first.id)
    assert (deleted.id, deleted.deleted) == (first.id, True)
    with pytest.raises(openai.NotFoundError, match="is kept"):
        kept.retrieve(first.id)
    kept.delete(second.id)


def test_streams_are_kept_too_and_others_are_not(gateway: Gateway) -> None:
    client = gateway.openai()
    plain = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])
    chunks = list(client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}], store=True, stream=True))
    assert client.chat.completions.retrieve(chunks[0].id).choices[0].message.content == "Hello world"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(plain.id)
    client.chat.completions.delete(chunks[0].id)


def kept(answer_id: str, account: str = "ann", size_bytes: int = 10) -> Kept:
    return Kept(id=answer_id, account=account, model="m", document={}, messages=(), size_bytes=size_bytes, metadata={})


def test_each_caller_finds_only_its_own() -> None:
    store = ChatStore(max_bytes=100, ttl_seconds=10)
    store.keep(kept("1", "ann"))
    store.keep(kept("2", "bob"))
    assert [each.id for each in store.all("ann")] == ["1"]
    with pytest.raises(NotFound):
        store.find("ann", "2")
    with pytest.raises(NotFound):
        store.drop("bob", "1")


def test_the_oldest_make_room_and_nothing_stays_for_ever() -> None:
    now = [0.0]
    store = ChatStore(max_bytes=25, ttl_seconds=10, clock=lambda: now[0])
    for number in range(3):
        store.keep(kept(str(number)))
    store.keep(kept("large", size_bytes=26))
    assert [each.id for each in store.all("ann")] == ["1", "2"]
    now[0] = 10.0
    assert store.all("ann") == []


@pytest.mark.parametrize(("query", "param"), [("limit=0", "limit"), ("limit=x", "limit"), ("order=up", "order")])
def test_bad_queries_are_errors_of_the_usual_shape(gateway: Gateway, query: str, param: str) -> None:
    response = gateway.http().get(f"/v1/chat/completions?{query}")
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
