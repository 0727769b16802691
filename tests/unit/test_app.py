"""Where settings and caches are, and what an application knows before it runs."""

import sys
from pathlib import Path

import pytest

from pomona.app import cache_folder, environment_with, load_app, read_settings, user_file
from pomona.core.errors import ConfigurationError, ModelNotFound


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home and a working folder without any settings."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("platform", "settings", "cache"),
    [
        ("linux", ".config/pomona/config.toml", ".cache/pomona"),
        ("darwin", "Library/Application Support/pomona/config.toml", "Library/Caches/pomona"),
    ],
)
def test_folders_are_where_the_system_has_them(
    platform: str, settings: str, cache: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert (user_file(), cache_folder()) == (home / settings, home / cache)


def test_the_xdg_variables_count_everywhere_if_they_are_absolute(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "elsewhere"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr(sys, "platform", "linux")
    assert (user_file(), cache_folder()) == (home / "elsewhere/pomona/config.toml", home / ".cache/pomona")


def test_the_command_line_beats_the_environment_and_that_beats_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    (home / "pomona").mkdir()
    (home / "pomona" / "config.toml").write_text("[engine]\nmax_rows = 1\nmax_waiting = 1\npage_tokens = 8\n")
    (home / "pomona.toml").write_text("[engine]\nmax_waiting = 2\nmax_rows = 2\n")
    monkeypatch.setenv("POMONA_ENGINE__MAX_ROWS", "3")
    loaded = read_settings({"fleet.max_restarts": 4})
    assert (loaded.settings.engine.page_tokens, loaded.settings.engine.max_waiting) == (8, 2)
    assert (loaded.settings.engine.max_rows, loaded.settings.fleet.max_restarts) == (3, 4)
    assert loaded.origin("engine.max_rows") == "environment POMONA_ENGINE__MAX_ROWS"


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'holiday'"):
        read_settings({}, profile="holiday")


def test_an_application_knows_its_models_name_before_it_runs() -> None:
    assert load_app(read_settings({"models.aliases": {"fast": "pomona-tiny"}, "models.default": "fast"}).settings).model == "fast"


@pytest.mark.parametrize("set_by_user", [None, "1"])
def test_engines_are_not_ended_for_the_many_shapes_they_meet(set_by_user: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless somebody wants MLX to."""
    monkeypatch.setenv("MLX_ENABLE_CACHE_THRASHING_CHECK", set_by_user or "")
    if set_by_user is None:
        monkeypatch.delenv("MLX_ENABLE_CACHE_THRASHING_CHECK")
    load_app(read_settings({"models.default": "pomona-tiny"}).settings)
    assert environment_with({})["MLX_ENABLE_CACHE_THRASHING_CHECK"] == (set_by_user or "0")


def test_a_model_that_is_not_here_is_said_at_once() -> None:
    with pytest.raises(ModelNotFound, match="'no-such-model'"):
        load_app(read_settings({"models.default": "no-such-model"}).settings)
