from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.errors import ConfigurationError, InvalidRequest, ModelNotFound
from pomona.core.settings import ModelsSettings
from pomona.models.references import ModelRef, bundled_folder, resolve
from tests.unit.models.folders import STORIES, copy_stories, hub_snapshot

names = st.from_regex(r"[\w.-]+(/[\w.-]+)?", fullmatch=True).filter(lambda name: not name.startswith("."))
words = st.from_regex(r"[\w.-]+", fullmatch=True)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "hub"
    folder.mkdir()
    return folder


@given(names, st.none() | words, st.none() | words)
def test_reference_survives_the_round_trip(name: str, revision: str | None, adapter: str | None) -> None:
    reference = ModelRef(name=name, revision=revision, adapter=adapter)
    assert ModelRef.parse(str(reference)) == reference


def test_reference_in_all_parts() -> None:
    assert ModelRef.parse("org/name@v1.2+legal") == ModelRef(name="org/name", revision="v1.2", adapter="legal")


@pytest.mark.parametrize("path", ["/models/a@b+c", "./a+b", "../a@b", "~/models/x@1"])
def test_paths_are_taken_whole(path: str) -> None:
    assert ModelRef.parse(path) == ModelRef(name=path)


@pytest.mark.parametrize("text", ["", "@v1", "name@", "name+", "name@@v", "name+a@v", "name@v+a+b"])
def test_malformed_references_say_how_to_write_one(text: str) -> None:
    with pytest.raises(InvalidRequest, match="NAME@REVISION") as caught:
        ModelRef.parse(text)
    assert caught.value.param == "model"


def test_bundled_model_by_name(cache: Path) -> None:
    found = resolve("pomona-tiny", ModelsSettings(), hub_cache=cache)
    assert (found.kind, found.id, found.path) == ("bundled", "pomona-tiny", bundled_folder())


def test_bundled_model_keeps_its_card_and_licence() -> None:
    card = (bundled_folder() / "MODEL_CARD.md").read_text()
    assert "cc-by-sa-4.0" in card
    assert "attribution" in card


def test_folder_by_absolute_relative_and_home_path(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_stories(tmp_path / "models" / "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    for reference in (str(folder), "./models/mine", "models/mine", "~/models/mine"):
        found = resolve(reference, ModelsSettings(), working_folder=tmp_path, hub_cache=cache)
        assert (found.kind, found.path, found.id) == ("folder", folder, "mine")


def test_name_below_a_folder_of_the_settings(tmp_path: Path, cache: Path) -> None:
    first = copy_stories(tmp_path / "one" / "stories")
    copy_stories(tmp_path / "two" / "stories")
    settings = ModelsSettings(folders=(tmp_path / "absent", tmp_path / "one", tmp_path / "two"))
    found = resolve("stories", settings, working_folder=tmp_path, hub_cache=cache)
    assert (found.kind, found.path) == ("folder", first)


def test_hugging_face_repository_and_its_revisions(tmp_path: Path, cache: Path) -> None:
    main = hub_snapshot(cache, "karpathy/stories260K")
    older = hub_snapshot(cache, "karpathy/stories260K", commit="b" * 40, branch="v1")
    for reference, path in (
        ("karpathy/stories260K", main),
        ("karpathy/stories260K@v1", older),
        (f"karpathy/stories260K@{'b' * 40}", older),
    ):
        found = resolve(reference, ModelsSettings(), working_folder=tmp_path, hub_cache=cache)
        assert (found.kind, found.path, found.id) == ("hub", path, reference)


def test_aliases_are_followed_and_shown(cache: Path) -> None:
    settings = ModelsSettings(aliases={"gpt-4o": "small", "small": str(STORIES), "pomona-tiny": "pomona-tiny"})
    found = resolve("gpt-4o", settings, hub_cache=cache)
    assert (found.id, found.path, found.aliases) == ("gpt-4o", STORIES, ("gpt-4o", "small"))
    assert resolve("pomona-tiny", settings, hub_cache=cache).kind == "bundled"


def test_alias_may_stand_for_the_bundled_name(cache: Path) -> None:
    found = resolve("pomona-tiny", ModelsSettings(aliases={"pomona-tiny": str(STORIES)}), hub_cache=cache)
    assert (found.kind, found.path, found.id) == ("folder", STORIES, "pomona-tiny")


def test_aliases_in_a_circle_are_shown(cache: Path) -> None:
    with pytest.raises(ConfigurationError, match="a -> b -> c -> a"):
        resolve("a", ModelsSettings(aliases={"a": "b", "b": "c", "c": "a"}), hub_cache=cache)


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [("pomona-tny", "pomona-tiny"), ("Stories260k", "karpathy/stories260K"), ("my-chat", "mychat"), ("storeis", "stories")],
)
def test_unknown_names_get_close_matches(tmp_path: Path, cache: Path, wanted: str, meant: str) -> None:
    hub_snapshot(cache, "karpathy/stories260K")
    copy_stories(tmp_path / "models" / "stories")
    settings = ModelsSettings(aliases={"mychat": "pomona-tiny"}, folders=(tmp_path / "models",))
    with pytest.raises(ModelNotFound, match=f"no model '{wanted}'.*Did you mean .*'{meant}'.*list"):
        resolve(wanted, settings, working_folder=tmp_path, hub_cache=cache)


@pytest.mark.parametrize("wanted", ["/no/such/folder", "./nothing", "org/unknown", "pomona-tiny@v2", "zzzz"])
def test_absent_models_say_what_to_do(tmp_path: Path, cache: Path, wanted: str) -> None:
    with pytest.raises(ModelNotFound, match=r"list.*pomona pull") as caught:
        resolve(wanted, ModelsSettings(aliases={"alias": wanted}), working_folder=tmp_path, hub_cache=cache)
    assert caught.value.param == "model"
    with pytest.raises(ModelNotFound, match="from the alias 'alias'"):
        resolve("alias", ModelsSettings(aliases={"alias": wanted}), working_folder=tmp_path, hub_cache=cache)
