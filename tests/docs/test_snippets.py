"""Every snippet that a reader may copy runs, against a real server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.conftest import Served
from tests.docs.pages import PAGES, ROOT, Snippet, snippets

SNIPPETS = [snippet for page in PAGES for snippet in snippets(page)]
RUNNABLE = [snippet for snippet in SNIPPETS if snippet.language in {"bash", "python"}]
# They start what the tests run inside of.
STARTERS = {"scripts/pomona serve\n", "scripts/test\n"}
SECONDS = 120


def test_the_readme_has_the_two_commands_a_curl_and_a_program() -> None:
    code = {(snippet.language, snippet.code) for snippet in snippets(ROOT / "README.md")}
    assert {("bash", starter) for starter in STARTERS} <= code
    assert any(language == "bash" and text.startswith("curl http://127.0.0.1:11440/v1/chat/completions") for language, text in code)
    assert any(language == "python" and "from openai import OpenAI" in text for language, text in code)


@pytest.mark.parametrize("snippet", [snippet for snippet in RUNNABLE if snippet.code not in STARTERS], ids=lambda snippet: snippet.name)
def test_a_snippet_runs_and_prints_something(snippet: Snippet, served: Served, tmp_path: Path) -> None:
    result = run(snippet, served, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.strip()
    assert '"error"' not in result.stdout


def test_the_first_curl_gets_an_answer(served: Served, tmp_path: Path) -> None:
    curl = next(snippet for snippet in snippets(ROOT / "README.md") if snippet.code.startswith("curl"))
    assert '"finish_reason":"' in run(curl, served, tmp_path).stdout.replace(" ", "")


def run(snippet: Snippet, served: Served, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a snippet as a reader would, in the environment of the tests and with the ports of `served`."""
    code = snippet.code.replace("http://127.0.0.1:11440", served.url).replace("http://127.0.0.1:11441", served.admin_url)
    code = code.replace("scripts/pomona", "pomona")
    interpreter = [sys.executable, "-c", code] if snippet.language == "python" else ["bash", "-euo", "pipefail", "-c", code]
    own = {"POMONA_ACCESS__KEYS_FILE": str(folder / "keys.json")}  # keys that a reader makes are not those of who runs the tests
    return subprocess.run(
        interpreter, cwd=folder, env=environment(served) | own, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def environment(served: Served) -> dict[str, str]:
    """As the reader's, with `pomona` on the PATH and the settings that tell it where the server of the tests is."""
    programs = Path(sys.executable).parent
    ports = {
        "POMONA_SERVER__PORT": served.url.rpartition(":")[2],
        "POMONA_SERVER__ADMIN_PORT": served.admin_url.rpartition(":")[2],
    }
    return {**os.environ, **ports, "PYTHONPATH": str(ROOT / "src"), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
