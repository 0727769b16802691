from dataclasses import replace
from pathlib import Path

import pytest

from pomona.core.errors import AdapterUnusable, ModelNotFound
from pomona.core.settings import ModelsSettings
from pomona.core.status import ModelFacts
from pomona.fleet.directory import Directory, not_found, served_names
from pomona.models.references import resolve
from tests.adapter_folders import write_mlx_lm
from tests.engine.harness import family
from tests.unit.fleet.residency.street import FACTS
from tests.unit.models.folders import change_json

TINY = "pomona-tiny"
SMALL = Path("tests/data/stories260K")


@pytest.mark.parametrize(
    ("default", "aliases", "names"),
    [
        (TINY, {}, [TINY]),
        ("fast", {"fast": TINY}, ["fast", TINY]),
        (TINY, {"fast": TINY, "quick": "fast"}, [TINY, "fast", "quick"]),
        (TINY, {"fast": TINY, "gone": "no/such-model"}, [TINY, "fast"]),
        ("gpt-4o", {"gpt-4o": "fast", "fast": TINY}, ["gpt-4o", "fast", TINY]),
    ],
)
def test_a_model_answers_to_its_name_and_to_every_alias(default: str, aliases: dict[str, str], names: list[str]) -> None:
    settings = ModelsSettings(default=default, aliases=aliases)
    assert served_names(resolve(default, settings), settings) == names


def test_a_path_is_not_shown(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    settings = ModelsSettings(default=str(folder), aliases={"local": str(folder)})
    assert served_names(resolve(str(folder), settings), settings) == ["mine", "local"]


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    """Two adapters of the bundled model, of which one is broken."""
    for name in ("pirate", "broken"):
        change_json(write_mlx_lm(tmp_path / name, family(TINY).module) / "adapter_config.json", model=TINY)
    (tmp_path / "broken" / "adapters.safetensors").write_bytes(b"")
    return tmp_path


def directory(settings: ModelsSettings) -> Directory:
    return Directory(resolve(settings.default, settings), settings, lambda _: None)


@pytest.mark.parametrize("serve_all", [True, False])
def test_an_adapter_is_a_card_of_its_own_and_answered_by_its_model(adapters: Path, serve_all: bool) -> None:
    known = directory(ModelsSettings(adapter_folders=(adapters,), aliases={"ahoy": f"{TINY}+pirate"}, serve_all=serve_all))
    cards = {card.id: card.parent for card in known.models()}
    assert cards.items() >= {TINY: None, f"{TINY}+pirate": TINY}.items()
    assert f"{TINY}+broken" not in cards
    for name in (f"{TINY}+pirate", "ahoy"):
        assert (known.find(name).id, known.find(name).parent) == (name, TINY)
        assert known.resolve(name).id == TINY
        assert known.adapter_of(name) == adapters / "pirate"
    assert known.adapter_of(TINY) is None


def test_adapters_that_cannot_be_had_are_refused_by_name(adapters: Path) -> None:
    known = directory(ModelsSettings(adapter_folders=(adapters,)))
    with pytest.raises(AdapterUnusable, match="adapter 'broken' cannot be used") as refused:
        known.adapter_of(f"{TINY}+broken")
    assert refused.value.param == "model"
    with pytest.raises(ModelNotFound, match="Did you mean 'pirate'"):
        known.find(f"{TINY}+pirat")
    for path in (f"{TINY}+{adapters}/pirate", f"{TINY}+./pirate", f"{adapters}+pirate"):
        with pytest.raises(ModelNotFound, match="There is no model"):
            known.find(path)


def test_the_default_may_be_a_model_with_an_adapter(adapters: Path) -> None:
    known = directory(ModelsSettings(default=f"{TINY}+{adapters}/pirate"))
    assert [card.id for card in known.models()][:2] == [f"{TINY}+pirate", TINY]
    assert known.find("gpt-4o").id == f"{TINY}+pirate"
    assert known.adapter_of(f"{TINY}+pirate") == adapters / "pirate"
    assert known.adapter_of(TINY) is None
    assert known.resolve(TINY).path == known.resolve(f"{TINY}+pirate").path


def beside_stories(loaded: ModelFacts | None = None, **settings: object) -> Directory:
    default = resolve(TINY, ModelsSettings())
    return Directory(default, ModelsSettings.model_validate({"folders": [SMALL.parent.resolve()], **settings}), lambda _: loaded)


def test_a_model_is_loaded_as_soon_as_its_facts_are_known() -> None:
    assert beside_stories().find(TINY).loaded is False
    card = beside_stories(replace(FACTS, max_context=77)).find(TINY)
    assert (card.loaded, card.max_context) == (True, 77)


def test_a_model_goes_by_one_name_whatever_it_was_called() -> None:
    names = beside_stories(aliases={"short": SMALL.name})
    assert names.resolve("short") == names.resolve(SMALL.name)
    assert names.find("short").parent == SMALL.name


def test_names_that_the_default_model_stands_in_for() -> None:
    names = beside_stories(stands_in_for=["gpt-*"])
    assert names.find("gpt-4o").id == TINY
    with pytest.raises(ModelNotFound, match=r"no model 'claude' here. Available: 'pomona-tiny'.*'stories260K'"):
        names.find("claude")


@pytest.mark.parametrize("name", [str(SMALL.resolve()), "./stories260K", "../data/stories260K", "~/x"])
def test_requests_cannot_name_folders(name: str) -> None:
    with pytest.raises(ModelNotFound):
        beside_stories().resolve(name)


def test_only_the_default_model_is_served_where_that_is_wanted() -> None:
    names = beside_stories(serve_all=False)
    assert {names.resolve(card.id).id for card in names.models()} == {TINY}
    with pytest.raises(ModelNotFound):
        names.resolve(SMALL.name)


def test_long_lists_of_names_are_cut_short() -> None:
    assert "'m19', and 5 more (GET /v1/models)" in not_found("x", [f"m{n}" for n in range(25)]).message
    assert "Available: none." in not_found("x", []).message
