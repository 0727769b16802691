"""Removing: what goes, what stays, and what nobody may remove."""

import asyncio
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from pomona.core.errors import Conflict, ModelNotFound
from pomona.core.hub import RegisteredModel
from pomona.core.settings import ModelsSettings
from pomona.hub.client import LocalHub
from pomona.hub.deleting import Remover
from pomona.models.hub_cache import find_snapshot
from tests.hub.conftest import STORIES, Bench


def remover(bench: Bench, loaded: Iterable[Path] = (), **settings: object) -> Remover:
    """Over the cache of `bench`."""
    models = ModelsSettings.model_validate(settings)
    return Remover(registry=bench.registry, settings=models, converted=bench.converted, hub_cache=bench.cache, loaded=lambda: loaded)


def test_a_repository_goes_with_all_that_belongs_to_it(bench: Bench) -> None:
    bench.pull()
    bench.hub.add_folder("acme/other", STORIES)
    bench.pull("acme/other")
    hub = LocalHub(connection=bench.connection, planner=bench.planner, remover=remover(bench))
    freed = asyncio.run(hub.delete("acme/tiny"))
    assert freed >= sum(path.stat().st_size for path in STORIES.iterdir() if path.name != "README.md")
    assert not (bench.cache / "models--acme--tiny").exists()
    assert find_snapshot("acme/other", None, bench.cache) is not None
    assert bench.pull() == "acme/tiny"


def test_what_did_not_finish_goes_too(bench: Bench) -> None:
    bench.hub.cuts["model.safetensors"] = [1000] * 4
    with pytest.raises(Exception, match="cannot be reached"):
        bench.pull()
    remove = remover(bench)
    removal = remove.find("acme/tiny")
    assert removal.freed_bytes >= 4000
    remove.remove(removal)
    assert not (bench.cache / "models--acme--tiny").exists()


def test_one_revision_goes_and_the_other_stays(bench: Bench) -> None:
    bench.pull()
    repo = bench.hub.repos["acme/tiny"]
    repo.commit, repo.revisions, repo.files = "b" * 40, ("main", "v2"), {**repo.files, "generation_config.json": b"{}" * 50}
    bench.pull("acme/tiny@v2")
    remove = remover(bench)
    removal = remove.find("acme/tiny@v2")
    assert 100 <= removal.freed_bytes < 5000  # the weights are shared
    remove.remove(removal)
    assert find_snapshot("acme/tiny", None, bench.cache) == bench.snapshot()
    assert find_snapshot("acme/tiny", "v2", bench.cache) is None
    with pytest.raises(ModelNotFound, match="not at revision 'v2'"):
        remove.find("acme/tiny@v2")


def test_a_converted_model_goes_and_its_source_stays(bench: Bench) -> None:
    bench.pull(quantize="4bit")
    remove = remover(bench)
    remove.remove(remove.find("tiny-4bit"))
    assert not (bench.converted / "tiny-4bit").exists()
    assert find_snapshot("acme/tiny", None, bench.cache) is not None


@pytest.mark.parametrize("which", ["tiny-4bit", "acme/tiny", "acme/tiny@main"])
def test_what_is_loaded_stays(bench: Bench, which: str) -> None:
    bench.pull(quantize="4bit")
    loaded = (bench.snapshot(), bench.converted / "tiny-4bit")
    with pytest.raises(Conflict, match=f"{which!r} is loaded"):
        remover(bench, loaded).find(which)


def test_what_is_not_ours_stays(bench: Bench, tmp_path: Path) -> None:
    shutil.copytree(STORIES, tmp_path / "models" / "stories")
    bench.registry.register(RegisteredModel(name="tales", path=str(STORIES)))
    bench.registry.set_alias("chat", "pomona-tiny")
    remove = remover(bench, folders=[str(tmp_path / "models")])
    for name, words in (
        ("pomona-tiny", "comes with Pomona"),
        ("stories", "are yours"),
        ("tales", "are yours"),
        ("chat", "pomona alias --remove chat"),
    ):
        with pytest.raises(Conflict, match=words):
            remove.find(name)


@pytest.mark.parametrize("name", ["acme/tny", "..", ".", "../..", "/", "~", "models--acme--tiny", "acme/tiny@../../x"])
def test_names_that_lead_nowhere(bench: Bench, name: str) -> None:
    bench.pull()
    with pytest.raises(ModelNotFound):
        remover(bench).find(name)
    assert find_snapshot("acme/tiny", None, bench.cache) is not None


def test_close_names_are_offered(bench: Bench) -> None:
    bench.pull()
    with pytest.raises(ModelNotFound, match="Did you mean 'acme/tiny'"):
        remover(bench).find("acme/tny")
    assert json.loads((bench.snapshot() / "config.json").read_text())
