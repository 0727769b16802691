"""`serve`: real processes with the bundled model, and the ways in which it fails early."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import click
import httpx
import pytest

from pomona.app import Serving
from pomona.cli.commands.serve import Size, banner, write_ready_file
from pomona.core.status import ModelFacts, Task
from pomona.ops.own_server import OwnServer, own_server
from tests.cli.conftest import Pomona, PomonaProcess

SERVING = Serving(
    public_url="http://127.0.0.1:1",
    admin_url="http://127.0.0.1:2",
    model="tiny",
    facts=ModelFacts(
        architecture="LlamaForCausalLM",
        device="cpu (processor)",
        max_context=4096,
        vocabulary=8192,
        weight_bytes=2**20,
        kv_budget_bytes=2**30,
        load_seconds=1.5,
        warnings=("No optimised BLAS was found.",),
    ),
)


@pytest.fixture
def taken() -> Generator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_the_banner_says_where_what_and_how() -> None:
    text = click.unstyle(banner(SERVING))

    for words in ("Pomona is ready at http://127.0.0.1:1\n", "tiny (LlamaForCausalLM, 1.0 MiB)", "cpu (processor)", "4096 tokens"):
        assert words in text
    assert "curl http://127.0.0.1:1/v1/chat/completions" in text
    assert "No optimised BLAS was found." in text


def test_the_banner_names_what_is_loaded_and_what_can_be_asked_for() -> None:
    assert "in memory" not in click.unstyle(banner(replace(SERVING, loaded=("tiny",))))
    text = click.unstyle(banner(replace(SERVING, loaded=("tiny", "two"), others=tuple(f"m{n}" for n in range(9)))))
    assert "in memory: tiny, two; on demand: m0, m1, m2, m3, m4, m5 and 3 more (pomona list)\n" in text


@pytest.mark.parametrize(("task", "path"), [("embed", "/v1/embeddings"), ("rerank", "/v1/rerank")])
def test_the_banner_says_what_to_ask_of_models_that_write_nothing(task: Task, path: str) -> None:
    text = click.unstyle(banner(replace(SERVING, task=task)))
    assert f"curl http://127.0.0.1:1{path}" in text
    assert "keys and values" not in text


def test_the_ready_file_comes_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"

    write_ready_file(path, SERVING)

    document = json.loads(path.read_text(encoding="utf-8"))
    assert document == {"url": "http://127.0.0.1:1", "admin_url": "http://127.0.0.1:2", "pid": os.getpid(), "model": "tiny"}
    assert [child.name for child in tmp_path.iterdir()] == ["ready.json"]


@pytest.mark.parametrize("option", ["--port", "--admin-port"])
def test_a_taken_port_is_told_with_advice(pomona_process: PomonaProcess, taken: int, option: str) -> None:
    ports = {"--port": "0", "--admin-port": "0", option: str(taken)}

    result = pomona_process("serve", *(word for pair in ports.items() for word in pair))

    assert result.returncode == 78
    assert str(taken) in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--model", "no-such-model"], 66, "no-such-model"),
        (["--port", "99999"], 2, "--port"),
        (["--device", "tpu"], 2, "tpu"),
        (["--kv-cache", "lots"], 2, "512M or 4G"),
        (["--max-rows", "0"], 78, "engine.max_rows = 0 (from command line)"),
        (["--ready-file", "/no/such/folder/file"], 2, "/no/such/folder"),
        (["--set", "models.default=./nowhere"], 66, "nowhere"),
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(pomona: Pomona, arguments: list[str], code: int, words: str) -> None:
    result = pomona("serve", *arguments)

    assert result.exit_code == code
    assert words in result.stderr


@pytest.mark.parametrize(
    ("text", "size"), [("123456789", 123456789), ("512M", 2**29), ("4g", 2**32), ("1.5GiB", 3 * 2**29), ("2 TB", 2**41)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert Size().convert(text, None, None) == size


def test_a_server_answers_and_ends_cleanly(home: Path) -> None:
    ready = home / "ready.json"
    command = [sys.executable, "-m", "pomona", "serve", "--port", "0", "--admin-port", "0", "--ready-file", str(ready)]
    with subprocess.Popen(command, cwd=home, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Pomona is ready at" in line:
                break
        while not ready.exists():  # written right after the banner
            assert process.poll() is None
        told = json.loads(ready.read_text(encoding="utf-8"))
        command = [sys.executable, "-m", "pomona", "generate", "Hello", "-n", "5", "--json", "--url", told["url"]]
        answered = json.loads(subprocess.run(command, capture_output=True, text=True, cwd=home, check=True, timeout=60).stdout)
        health = httpx.get(f"{told['admin_url']}/health", timeout=60, trust_env=False)
        process.send_signal(signal.SIGINT)
        process.stderr.read()

    assert (told["model"], told["pid"]) == ("pomona-tiny", process.pid)
    assert answered["usage"]["completion_tokens"] in range(1, 6)
    assert health.status_code == 200
    assert process.returncode == 0
    assert not ready.exists()


async def test_a_measurement_gets_a_server_of_its_own(home: Path) -> None:
    del home
    async with own_server(["--set", "engine.max_rows=3"]) as server, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        assert isinstance(server, OwnServer)
        assert (await client.get(f"{server.url}/v1/models")).json()["data"][0]["id"] == "pomona-tiny"

    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{server.url}/v1/models")


async def test_a_server_that_cannot_start_is_told_with_its_words(home: Path) -> None:
    from pomona.core.errors import EngineFailed

    del home
    with pytest.raises(EngineFailed, match="no-such-model"):
        async with own_server(["--set", "models.default=no-such-model"]):
            raise AssertionError
