"""What of a repository is needed, and what a download that did not finish looks like."""

import json
from pathlib import Path

import pytest

from pomona.core.errors import ModelUnusable
from pomona.core.settings import ModelsSettings
from pomona.models.catalog import list_models
from pomona.models.hub_cache import find_snapshot, needed_files
from pomona.models.references import Names, resolve
from tests.unit.models.folders import STORIES, copy_stories, hub_snapshot

COMMIT = "a" * 40


@pytest.mark.parametrize(
    ("held", "needed"),
    [
        (["config.json", "model.safetensors", "pytorch_model.bin", "README.md"], ["config.json", "model.safetensors"]),
        (
            [
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
                "model.safetensors.index.json",
                "consolidated.00.safetensors",
            ],
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
        ),
        (["model.safetensors", "model.fp16.safetensors", "onnx/model.onnx", "onnx/config.json"], ["model.safetensors"]),
        (["model.fp32.safetensors", "model.fp16.safetensors"], ["model.fp16.safetensors"]),
        (["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"], ["adapter_config.json", "adapter_model.safetensors"]),
        (
            ["model.safetensors", "1_Pooling/config.json", "2_Dense/model.safetensors"],
            ["1_Pooling/config.json", "2_Dense/model.safetensors", "model.safetensors"],
        ),
        (["config.json", "pytorch_model.bin"], []),
    ],
)
def test_only_what_serving_needs_and_one_set_of_weights(held: list[str], needed: list[str]) -> None:
    assert needed_files(held) == needed


def test_an_unfinished_download_is_refused_and_listed_with_the_reason(tmp_path: Path) -> None:
    snapshot = hub_snapshot(tmp_path, "org/half", commit=COMMIT)
    write_listing(tmp_path / "models--org--half", [path.name for path in snapshot.iterdir()])
    assert find_snapshot("org/half", None, tmp_path) == snapshot
    (snapshot / "model.safetensors").unlink()
    (tmp_path / "models--org--half" / "refs" / "v1").write_text(COMMIT)
    with pytest.raises(ModelUnusable, match=r"did not finish: model.safetensors missing.*pomona pull org/half@v1"):
        find_snapshot("org/half", "v1", tmp_path)
    (entry,) = [entry for entry in list_models(ModelsSettings(), hub_cache=tmp_path) if entry.id == "org/half"]
    assert (entry.kind, entry.path) == ("hub", None)
    assert "did not finish" in (entry.problem or "")


def test_unfinished_downloads_of_others_stay_out_of_the_list(tmp_path: Path) -> None:
    storage = tmp_path / "models--org--painter"
    (storage / "refs").mkdir(parents=True)
    (storage / "refs" / "main").write_text(COMMIT)
    write_listing(storage, ["model_index.json", "unet/model.safetensors"])
    assert [entry.id for entry in list_models(ModelsSettings(), hub_cache=tmp_path)] == ["pomona-tiny"]


def test_files_that_nobody_needs_may_be_missing(tmp_path: Path) -> None:
    snapshot = hub_snapshot(tmp_path, "org/whole", commit=COMMIT)
    write_listing(tmp_path / "models--org--whole", [*(path.name for path in snapshot.iterdir()), "pytorch_model.bin", "README.md"])
    assert find_snapshot("org/whole", None, tmp_path) == snapshot


@pytest.mark.parametrize("revision", ["../../escape", "no-such-branch"])
def test_revisions_that_are_not_there(tmp_path: Path, revision: str) -> None:
    hub_snapshot(tmp_path / "hub", "org/whole")
    assert find_snapshot("org/whole", revision, tmp_path / "hub") is None


def test_names_of_the_registry_stand_beside_those_of_the_settings(tmp_path: Path) -> None:
    own = copy_stories(tmp_path / "models" / "stories")
    names = Names(aliases={"tales": "registered", "chat": "nowhere"}, folders={"registered": STORIES, "stories": STORIES})
    settings = ModelsSettings(folders=(tmp_path / "models",), aliases={"chat": "registered"})
    assert resolve("tales", settings, names=names, hub_cache=tmp_path).path == STORIES
    assert resolve("chat", settings, names=names, hub_cache=tmp_path).path == STORIES
    assert resolve("stories", settings, names=names, hub_cache=tmp_path).path == own
    listed = {entry.id: entry for entry in list_models(settings, names=names, hub_cache=tmp_path)}
    assert list(listed) == ["chat", "tales", "pomona-tiny", "stories", "registered"]
    assert listed["tales"].alias_of == "registered"


def write_listing(storage: Path, names: list[str]) -> None:
    """The listing of a commit as the library keeps it."""
    (storage / "trees").mkdir(parents=True, exist_ok=True)
    files = {name: {"size": 1, "blob_id": "0" * 40} for name in names}
    (storage / "trees" / f"{COMMIT}.json").write_text(json.dumps({"format_version": 1, "files": files}))
