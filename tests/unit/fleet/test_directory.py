from pathlib import Path

import pytest

from pomona.core.settings import ModelsSettings
from pomona.fleet.directory import served_names
from pomona.models.references import resolve

TINY = "pomona-tiny"


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
