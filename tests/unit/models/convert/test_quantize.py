"""Quantising a folder: what comes out, and the process that does it."""

import json
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest

from pomona.core.errors import Conflict, InvalidRequest, ModelUnusable
from pomona.core.hub import Quantization
from pomona.models.convert.quantize import SCHEMES, quantize
from pomona.models.convert.writing import Shards
from pomona.models.references import bundled_folder
from pomona.models.validation import inspect_folder
from tests.golden.cases import REPOSITORY, load_forward

STORIES = REPOSITORY / "tests" / "data" / "stories260K"
IDS = mx.array([[1, 403, 407, 261, 378, 31, 290]])


def quietly(done: int, total: int, what: str) -> None:
    """Nobody watches."""
    assert 0 < done <= total
    assert what


@pytest.mark.parametrize("form", SCHEMES)
def test_the_model_is_smaller_and_nearly_the_same(form: Quantization, tmp_path: Path) -> None:
    written = quantize(STORIES, tmp_path / "model", form, quietly)

    facts = inspect_folder(tmp_path / "model")
    assert written == facts.weight_bytes < inspect_folder(STORIES).weight_bytes / 2
    assert facts.quantization is not None
    assert facts.quantization.startswith({"4bit": "4-bit affine", "8bit": "8-bit affine"}.get(form, f"4-bit {form}"))
    before, after = (mx.softmax(load_forward(folder)(IDS)[0, -1]) for folder in (STORIES, tmp_path / "model"))
    distance = float(mx.abs(before - after).sum())
    assert distance < {"8bit": 0.02}.get(form, 0.7)
    assert (tmp_path / "model" / "tokenizer.json").read_bytes() == (STORIES / "tokenizer.json").read_bytes()


def test_vision_parts_stay_as_they_are(tmp_path: Path) -> None:
    source = tmp_path / "seeing"
    source.mkdir()
    for path in STORIES.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    eye = mx.random.normal((8, 64))
    mx.save_safetensors(str(source / "model-eye.safetensors"), {"vision_tower.patch.weight": eye})

    with pytest.raises(ModelUnusable, match="vision_tower"):  # a text-only type knows no such tensor
        quantize(source, tmp_path / "model", "4bit", quietly)
    assert not (tmp_path / "model").exists()


def test_packed_models_and_full_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="quantised already"):
        quantize(bundled_folder(), tmp_path / "model", "4bit", quietly)
    (tmp_path / "there").mkdir()
    with pytest.raises(Conflict, match="exists already"):
        quantize(STORIES, tmp_path / "there", "4bit", quietly)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_large_models_get_several_files_and_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pomona.models.convert.writing.SHARD_BYTES", 100)
    shards = Shards(tmp_path)
    for name in "abc":
        shards.add({name: mx.zeros(20)})

    assert shards.close() == 240
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == {name: f"model-0000{number}-of-00003.safetensors" for number, name in enumerate("abc", start=1)}
    assert {path.name for path in tmp_path.glob("*.safetensors")} == set(index["weight_map"].values())


def test_the_process_reports_in_lines_of_json(tmp_path: Path) -> None:
    done = run(str(STORIES), str(tmp_path / "model"), "--quantize", "4bit")

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert lines[-1] == {"finished": inspect_folder(tmp_path / "model").weight_bytes}
    assert lines[-2]["done"] == lines[-2]["total"] > 0


def test_the_process_says_what_is_wrong(tmp_path: Path) -> None:
    done = run(str(tmp_path / "nothing"), str(tmp_path / "model"), "--quantize", "4bit")

    assert (done.returncode, done.stderr) == (3, "")
    assert json.loads(done.stdout) == {
        "error": f"{str(tmp_path / 'nothing')!r} is not a folder. Give the folder that holds config.json.",
        "code": "model_unusable",
    }


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pomona.models.convert", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
