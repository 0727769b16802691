"""The list of models in Anthropic's shape, where headers ask for it."""

from collections.abc import Mapping

import anthropic
import pytest

from pomona.core.status import ModelCard
from tests.api.anthropic.clients import client_of, http_of
from tests.api.gateway import MODEL, Gateway

CARDS = [ModelCard(id=f"m{number}", created=1_700_000_000, owned_by="x", max_context=1000) for number in range(5)]


def test_the_client_lists_models(gateway: Gateway) -> None:
    page = client_of(gateway).models.list()
    model = page.data[0]
    assert [each.id for each in page.data] == [MODEL, "alias"]
    assert (page.has_more, page.first_id, page.last_id) == (False, MODEL, "alias")
    assert (model.type, model.lifecycle, model.max_input_tokens, model.max_tokens) == ("model", "active", 512, 512)
    assert model.created_at.isoformat() == "2023-11-14T22:13:20+00:00"
    assert model.capabilities is not None
    assert model.capabilities.thinking.supported
    assert not model.capabilities.image_input.supported


def test_the_client_turns_pages(gateway: Gateway) -> None:
    gateway.directory.cards = list(CARDS)
    assert [model.id for model in client_of(gateway).models.list(limit=2)] == ["m0", "m1", "m2", "m3", "m4"]
    assert [model.id for model in client_of(gateway).beta.models.list(limit=5)] == ["m0", "m1", "m2", "m3", "m4"]
    before = client_of(gateway).models.list(before_id="m3", limit=2)
    assert ([model.id for model in before.data], before.has_more) == (["m1", "m2"], True)
    after = client_of(gateway).models.list(after_id="m4")
    assert (after.data, after.has_more, after.first_id) == ([], False, None)
    assert client_of(gateway).models.list(lifecycle=["retired"]).data == []


def test_the_client_finds_a_model(gateway: Gateway) -> None:
    assert client_of(gateway).models.retrieve(MODEL).display_name == MODEL
    with pytest.raises(anthropic.NotFoundError, match="no model 'nobody'"):
        client_of(gateway).models.retrieve("nobody")


@pytest.mark.parametrize("headers", [{"anthropic-version": "2023-06-01"}, {"x-api-key": "k"}])
def test_headers_choose_the_shape(gateway: Gateway, headers: Mapping[str, str]) -> None:
    assert http_of(gateway).get("/v1/models", headers=headers).json()["data"][0]["type"] == "model"
    assert http_of(gateway).get("/v1/models").json()["object"] == "list"
    assert http_of(gateway).get("/v1/models/nobody", headers=headers).json()["type"] == "error"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=0", "limit = '0'"),
        ("limit=x", "limit = 'x'"),
        ("limit=1001", "1000"),
        ("limit=99999999999999", "1000"),
        ("after_id=no", "'no'"),
    ],
)
def test_a_page_that_cannot_be(gateway: Gateway, query: str, words: str) -> None:
    response = http_of(gateway).get(f"/v1/models?{query}", headers={"anthropic-version": "2023-06-01"})
    assert response.status_code == 400
    assert words in response.json()["error"]["message"]
