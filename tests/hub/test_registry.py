"""Registered models, aliases and pins: what may be named how, and a file that many write at a time."""

import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pomona.core.errors import (
    AdapterUnusable,
    ConfigurationError,
    Conflict,
    Forbidden,
    InvalidRequest,
    ModelNotFound,
    ModelUnusable,
    NotFound,
)
from pomona.core.hub import RegisteredModel
from pomona.core.settings import ModelsSettings
from pomona.hub.registry.file import RegistryFile
from pomona.hub.registry.registry import LocalRegistry
from pomona.hub.registry.scanning import FolderScanner
from pomona.models.references import resolve
from tests.hub.conftest import STORIES

ADAPTER = Path(__file__).parents[1] / "data" / "adapters" / "lora"
WRITERS, WRITES = 3, 20


@pytest.fixture
def registry(tmp_path: Path) -> LocalRegistry:
    return make(tmp_path)


def make(folder: Path, **settings: object) -> LocalRegistry:
    """A registry in `folder`, with settings for models."""
    models = ModelsSettings.model_validate(settings)
    return LocalRegistry(RegistryFile(folder / "models.json"), models, folder / "converted", hub_cache=folder / "cache")


def adapter(folder: Path, *, base: str | None = "pomona-tiny", weights: bool = True) -> Path:
    """An adapter in PEFT's layout that says it is for `base`."""
    shutil.copytree(ADAPTER, folder, ignore=None if weights else shutil.ignore_patterns("*.safetensors"))
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": base}))
    return folder


def test_a_registered_model_is_found_by_its_name(registry: LocalRegistry, tmp_path: Path) -> None:
    entry = RegisteredModel(name="tales", path=str(STORIES), registered_by="hub", model_id="7", metadata={"epochs": 3})
    registry.register(entry)
    assert registry.entries() == make(tmp_path).entries() == (entry,)
    found = resolve("tales", ModelsSettings(), names=registry.names(), hub_cache=tmp_path)
    assert (found.id, found.path, found.kind) == ("tales", STORIES, "folder")
    registry.forget("tales")
    assert registry.entries() == ()
    assert (STORIES / "config.json").is_file()


def test_a_registered_adapter_is_an_alias_for_its_model_with_it(registry: LocalRegistry, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "legal")
    registry.register(RegisteredModel(name="legal", path=str(folder), base="pomona-tiny"))
    names = registry.names()
    assert (names.aliases["legal"], names.adapters["legal"]) == ("pomona-tiny+legal", folder)


@pytest.mark.parametrize(
    ("entry", "error", "words"),
    [
        (RegisteredModel(name="a b", path="/x"), InvalidRequest, "'a b' cannot be the name"),
        (RegisteredModel(name="a+b", path="/x"), InvalidRequest, "cannot be the name"),
        (RegisteredModel(name="../x", path="/x"), InvalidRequest, "cannot be the name"),
        (RegisteredModel(name="pomona-tiny", path=str(STORIES)), Conflict, "'pomona-tiny' is taken by the model that comes with Pomona"),
        (RegisteredModel(name="chat", path=str(STORIES)), Conflict, "'chat' is taken by an alias"),
        (RegisteredModel(name="tales", path="/no/such/folder"), NotFound, "no folder '/no/such/folder'"),
        (RegisteredModel(name="tales", path=str(STORIES.parent)), ModelUnusable, "no config.json"),
        (RegisteredModel(name="legal", path=str(STORIES), base="pomona-tyni"), ModelNotFound, "Did you mean 'pomona-tiny'"),
        (RegisteredModel(name="legal", path=str(STORIES), base="pomona-tiny"), AdapterUnusable, "adapter_config.json"),
    ],
)
def test_what_cannot_be_registered(tmp_path: Path, entry: RegisteredModel, error: type[Exception], words: str) -> None:
    registry = make(tmp_path, aliases={"chat": "pomona-tiny"})
    with pytest.raises(error, match=words):
        registry.register(entry)
    assert registry.entries() == ()


def test_a_broken_adapter_is_refused(registry: LocalRegistry, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "empty", weights=False)
    with pytest.raises(AdapterUnusable, match=re.escape(str(folder))):
        registry.register(RegisteredModel(name="empty", path=str(folder), base="pomona-tiny"))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ModelUnusable, match=r"adapter_model.safetensors"):
        registry.register(RegisteredModel(name="empty", path=str(folder), base="pomona-tiny"))


def test_a_name_is_given_once(registry: LocalRegistry) -> None:
    registry.register(RegisteredModel(name="tales", path=str(STORIES)))
    with pytest.raises(Conflict, match="taken by a registered model"):
        registry.register(RegisteredModel(name="tales", path=str(STORIES)))
    with pytest.raises(Conflict, match="'tales' is taken by a model"):
        registry.set_alias("tales", "pomona-tiny")


def test_what_cannot_be_forgotten(tmp_path: Path) -> None:
    shutil.copytree(STORIES, tmp_path / "models" / "stories")
    registry = make(tmp_path, folders=[str(tmp_path / "models")])
    for name in ("pomona-tiny", "stories"):
        with pytest.raises(InvalidRequest, match="was not registered"):
            registry.forget(name)
    with pytest.raises(ModelNotFound, match="No model is registered as 'tails'"):
        registry.forget("tails")


def test_aliases_come_and_go(registry: LocalRegistry, tmp_path: Path) -> None:
    registry.set_alias("chat", "pomona-tiny")
    registry.set_alias("best", "chat")
    assert make(tmp_path).aliases() == {"chat": "pomona-tiny", "best": "chat"}
    assert resolve("best", ModelsSettings(), names=registry.names()).kind == "bundled"
    with pytest.raises(Conflict, match=r"chat -> best -> chat|best -> chat -> best"):
        registry.set_alias("chat", "best")
    with pytest.raises(ModelNotFound, match="'nowhere/at-all'"):
        registry.set_alias("lost", "nowhere/at-all")
    registry.remove_alias("best")
    with pytest.raises(NotFound, match=r"no alias 'chatt'. Did you mean 'chat'"):
        registry.remove_alias("chatt")
    assert registry.aliases() == {"chat": "pomona-tiny"}


@pytest.mark.parametrize("alias", ["", "a b", "@x", "+y", "x" * 201, "/root", "~me"])
def test_aliases_that_cannot_be_one(registry: LocalRegistry, alias: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be the name"):
        registry.set_alias(alias, "pomona-tiny")


def test_aliases_of_the_settings_are_changed_there(tmp_path: Path) -> None:
    registry = make(tmp_path, aliases={"chat": "pomona-tiny"})
    for change in (lambda: registry.set_alias("chat", "pomona-tiny"), lambda: registry.remove_alias("chat")):
        with pytest.raises(Conflict, match=r"in the settings \(models.aliases\)"):
            change()
    assert registry.aliases() == {"chat": "pomona-tiny"}


def test_pins_are_remembered(registry: LocalRegistry, tmp_path: Path) -> None:
    registry.set_pin("pomona-tiny", True)
    registry.set_pin("acme/tiny", True)
    registry.set_pin("pomona-tiny", False)
    assert make(tmp_path).pins() == {"acme/tiny"}


def test_changes_of_others_hold_at_once(registry: LocalRegistry, tmp_path: Path) -> None:
    make(tmp_path).set_alias("chat", "pomona-tiny")
    assert registry.names().aliases == {"chat": "pomona-tiny"}


@pytest.mark.parametrize("content", [b'{"version": 1, "models": [{"name"', b"", b"[]", b'{"models": [{"name": 3}]}'])
def test_a_torn_file_is_told_and_not_written_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "models.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"models.json' cannot be read.*remove it, which forgets"):
        make(tmp_path)
    with pytest.raises(ConfigurationError):
        RegistryFile(tmp_path / "models.json").change(lambda document: document)
    assert (tmp_path / "models.json").read_bytes() == content


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text('{"version": 2}')
    with pytest.raises(ConfigurationError, match="version 2, made by a newer Pomona"):
        make(tmp_path)


def test_a_file_that_breaks_while_running_leaves_all_as_it_was(registry: LocalRegistry, tmp_path: Path) -> None:
    registry.set_alias("chat", "pomona-tiny")
    (tmp_path / "models.json").write_text("{")
    assert registry.aliases() == {"chat": "pomona-tiny"}
    with pytest.raises(ConfigurationError):
        registry.set_alias("more", "pomona-tiny")


WRITER = """
import sys
from pathlib import Path
from pomona.hub.registry.file import Document, RegistryFile
path, number, writes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for each in range(writes):
    RegistryFile(path).change(lambda document: Document(aliases={**document.aliases, f"a{number}.{each}": "pomona-tiny"}))
"""


def test_processes_that_write_at_a_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    stop = threading.Event()
    seen: list[int] = []
    reader = threading.Thread(target=lambda: read_until(path, stop, seen))
    reader.start()
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(number), str(WRITES)]) for number in range(WRITERS)]
    codes = [writer.wait() for writer in writers]
    stop.set()
    reader.join()
    assert codes == [0] * WRITERS
    assert len(RegistryFile(path).read().aliases) == WRITERS * WRITES
    assert seen == sorted(seen)  # never half a file, never an older one


def read_until(path: Path, stop: threading.Event, seen: list[int]) -> None:
    """Read all the time."""
    while not stop.wait(0.001):
        seen.append(len(RegistryFile(path).read().aliases))


def test_scanning_registers_models_and_adapters_inside_the_given_folders_only(tmp_path: Path) -> None:
    root = tmp_path / "exports"
    shutil.copytree(STORIES, root / "deep" / "er" / "stories")
    adapter(root / "legal")
    adapter(root / "nameless", base=None)
    (root / "broken").mkdir()
    (root / "broken" / "config.json").write_text("{}")
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    registry = make(tmp_path)
    scanner = FolderScanner(registry=registry, roots=(root,))
    report = scanner.scan(str(root))
    assert [(entry.name, entry.base, entry.registered_by) for entry in report.registered] == [
        ("stories", None, "scan"),
        ("legal", "pomona-tiny", "scan"),
    ]
    assert {Path(folder).name for folder in report.skipped} == {"nameless", "broken"}
    assert scanner.scan(str(root)).registered == ()
    for place in (tmp_path / "outside", root / "link", root / ".." / "outside", Path("/")):
        with pytest.raises(Forbidden, match="may not be scanned"):
            scanner.scan(str(place))
    with pytest.raises(NotFound):
        scanner.scan(str(root / "absent"))
