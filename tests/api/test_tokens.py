"""The tokenizer's own endpoints, in vLLM's words and in llama.cpp's."""

import pytest

from tests.api.gateway import MODEL, Gateway


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_tokenize_in_vllms_words(gateway: Gateway, prefix: str) -> None:
    found = gateway.http().post(f"{prefix}/tokenize", json={"model": MODEL, "prompt": "a bcd ef", "return_token_strs": True}).json()
    assert found == {"count": 3, "max_model_len": 512, "tokens": [1, 3, 2], "token_strs": ["a", "bcd", "ef"]}


def test_tokenize_in_llama_cpps_words(gateway: Gateway) -> None:
    found = gateway.http().post("/tokenize", json={"content": "a bcd", "with_pieces": True}).json()
    assert found["tokens"] == [{"id": 1, "piece": "a"}, {"id": 3, "piece": "bcd"}]
    assert gateway.http().post("/tokenize", json={"content": "a bcd"}).json()["tokens"] == [1, 3]


@pytest.mark.parametrize("pieces", [False, True])
def test_a_conversation_is_tokenized_as_the_model_reads_it(gateway: Gateway, pieces: bool) -> None:
    messages = [{"role": "user", "content": "Hello you"}, {"role": "assistant", "content": "Hi"}]
    found = gateway.http().post("/tokenize", json={"messages": messages, "with_pieces": pieces}).json()
    assert found["count"] == 3
    assert found["tokens"] == ([{"id": 5, "piece": "Hello"}, {"id": 3, "piece": "you"}, {"id": 2, "piece": "Hi"}] if pieces else [5, 3, 2])


def test_no_text_has_no_tokens(gateway: Gateway) -> None:
    assert gateway.http().post("/tokenize", json={}).json()["tokens"] == []


def test_tokens_become_text_again(gateway: Gateway) -> None:
    assert gateway.http().post("/detokenize", json={"tokens": [2, 1]}).json() == {"prompt": "xx x", "content": "xx x"}


def test_the_prompt_of_a_conversation(gateway: Gateway) -> None:
    body = {"messages": [{"role": "user", "content": "Hello you"}], "tools": [{"type": "function", "function": {"name": "f"}}]}
    assert gateway.http().post("/apply-template", json=body).json() == {"prompt": "Hello you", "count": 2, "max_model_len": 512}


@pytest.mark.parametrize(
    ("path", "body", "status", "part"),
    [
        ("tokenize", {"messages": [{"role": "user", "content": "a"}], "add_generation_prompt": False}, 400, "add_generation_prompt"),
        ("tokenize", {"prompt": "a", "model": "gpt-9"}, 404, "gpt-9"),
        ("detokenize", {"tokens": [-1]}, 400, "tokens[0] = -1"),
        ("apply-template", {"messages": []}, 400, "at least 1"),
        ("apply-template", {"messages": [{"role": "tool", "content": "x"}]}, 400, "tool_call_id"),
    ],
)
def test_bad_bodies(gateway: Gateway, path: str, body: dict[str, object], status: int, part: str) -> None:
    response = gateway.http().post(f"/{path}", json=body)
    assert response.status_code == status
    assert part in response.json()["error"]["message"]
