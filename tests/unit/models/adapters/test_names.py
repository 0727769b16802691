"""MODEL+ADAPTER leads to a model and an adapter, and lists show what there is."""

from pathlib import Path

import pytest

from pomona.core.errors import InvalidRequest, ModelNotFound
from pomona.core.settings import ModelsSettings
from pomona.models.catalog import describe, list_models
from pomona.models.references import Names, bundled_folder, resolve
from tests.adapter_folders import write_mlx_lm, write_peft
from tests.engine.harness import family
from tests.unit.models.folders import change_json

TINY = "pomona-tiny"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Three adapters of the bundled model: `pirate`, `legal`, and `elsewhere` in another folder."""
    module = family(TINY).module
    for name in ("here/pirate", "here/legal", "elsewhere"):
        folder = write_mlx_lm(tmp_path / name, module, layers=1)
        change_json(folder / "adapter_config.json", model=TINY)
    return tmp_path


@pytest.fixture
def settings(place: Path) -> ModelsSettings:
    return ModelsSettings(adapter_folders=(place / "here",), adapters={"mine": place / "elsewhere"}, aliases={"fast": TINY})


@pytest.mark.parametrize(
    ("reference", "id", "folder"),
    [
        ("pomona-tiny+pirate", "pomona-tiny+pirate", "here/pirate"),
        ("pomona-tiny+mine", "pomona-tiny+mine", "elsewhere"),
        ("fast+legal", "fast+legal", "here/legal"),
        ("ahoy", "ahoy", "here/pirate"),
        ("pomona-tiny+{place}/here/legal", "pomona-tiny+legal", "here/legal"),
        ("{tiny}+{place}/elsewhere", "pomona-tiny+elsewhere", "elsewhere"),
        ("{tiny}+pirate", "pomona-tiny+pirate", "here/pirate"),
        ("pomona-tiny+registered", "pomona-tiny+registered", "elsewhere"),
    ],
)
def test_a_name_leads_to_the_folders_of_both(settings: ModelsSettings, place: Path, reference: str, id: str, folder: str) -> None:
    names = Names(aliases={"ahoy": "pomona-tiny+pirate"}, adapters={"registered": place / "elsewhere"})
    found = resolve(reference.format(place=place, tiny=bundled_folder()), settings, names=names)
    assert (found.id, found.path, found.adapter) == (id, bundled_folder(), place / folder)
    assert found.base is not None
    assert found.base.adapter is None


def test_a_folder_with_a_plus_in_its_name_is_a_folder(place: Path) -> None:
    folder = place / "c++"
    folder.mkdir()
    assert resolve(str(folder), ModelsSettings()).path == folder


@pytest.mark.parametrize(
    ("reference", "error", "reason"),
    [
        ("pomona-tiny+pirat", ModelNotFound, "no adapter 'pirat'. Did you mean 'pirate'"),
        ("pomona-tiny+./nowhere", ModelNotFound, r"no adapter folder './nowhere'"),
        ("nobody+pirate", ModelNotFound, "no model 'nobody'"),
        ("ahoy+legal", InvalidRequest, "a second adapter: 'ahoy' has one"),
        ("pomona-tiny+pirate+legal", InvalidRequest, "does not name a model"),
    ],
)
def test_names_that_lead_nowhere_say_what_there_is(settings: ModelsSettings, reference: str, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        resolve(reference, settings, names=Names(aliases={"ahoy": "pomona-tiny+pirate"}))


def test_lists_show_adapters_with_their_models(settings: ModelsSettings, place: Path, tmp_path: Path) -> None:
    write_peft(place / "here" / "stranger", family(TINY).module)
    (place / "here" / "legal" / "adapters.safetensors").unlink()
    entries = {entry.id: entry for entry in list_models(settings, hub_cache=tmp_path / "hub")}
    assert list(entries) == ["fast", TINY, "pomona-tiny+mine", "+legal", "pomona-tiny+pirate", "+stranger"]
    pirate = entries["pomona-tiny+pirate"]
    assert pirate.problem is None
    assert pirate.base == TINY
    assert pirate.adapter is not None
    assert pirate.adapter.rank == 4
    assert "adapters.safetensors" in (entries["+legal"].problem or "")
    assert "Ask for it as MODEL+stranger" in (entries["+stranger"].problem or "")


def test_an_adapter_of_other_sizes_is_shown_with_the_reason(settings: ModelsSettings, place: Path) -> None:
    write_mlx_lm(place / "here" / "pirate", family("llama").module)
    problem = describe("pomona-tiny+pirate", settings).problem
    assert problem is not None
    assert "of 48, and 'model.layers.0.self_attn.v_proj' of 'pomona-tiny' makes 128 of 384" in problem
    write_mlx_lm(place / "here" / "pirate", family("mamba2").module, keys=("in_proj",))
    assert "has none of the layers that it changes, such as 'backbone.layers.0.mixer.in_proj'" in (
        describe("pomona-tiny+pirate", settings).problem or ""
    )
