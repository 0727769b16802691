"""A server that is killed and started again goes on from the prompts that it had read before."""

from pathlib import Path

import pytest

from tests.e2e.servers import MODEL, Server, serving, wait_until

PROMPT = [1000 + 7 * number % 6000 for number in range(300)]
BLOCKS = 9
"""Full pages of the prompt but for its last token."""


async def test_what_was_read_before_a_kill_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serving(tmp_path, "--set", "engine.disk_cache_bytes=100000000") as server:
        first, cached = await ask(server)
        assert cached == 0
        wait_until(lambda: server.metric("pomona_engine_disk_cache_files") >= BLOCKS)
        server.process.kill()
    (tmp_path / "ready.json").unlink()
    with serving(tmp_path, "--set", "engine.disk_cache_bytes=100000000") as server:
        again, cached = await ask(server)
        assert again == first
        assert cached == 32 * BLOCKS
        assert server.metric("pomona_engine_disk_cache_read") == BLOCKS


async def ask(server: Server) -> tuple[str, int]:
    """The answer, and how much of the prompt came out of the cache."""
    async with server.client() as client:
        answer = await client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=20, temperature=0)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    return answer.choices[0].text, answer.usage.prompt_tokens_details.cached_tokens or 0
