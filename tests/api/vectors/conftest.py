"""The gateway of all API tests, with an embedder and a reranker in its directory."""

import pytest

from tests.api.gateway import VECTOR_CARDS, Gateway


@pytest.fixture
def gateway(gateway: Gateway) -> Gateway:
    gateway.directory.cards = [*gateway.directory.cards, *VECTOR_CARDS]
    return gateway
