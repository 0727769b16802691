"""The documentation says all there is, and its links lead somewhere."""

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from pydantic import BaseModel

from pomona.core.metrics import Metrics
from pomona.core.plugins import COMMANDS
from pomona.core.settings import Settings
from tests.docs.pages import PAGES, ROOT, anchors, links

REFERENCE = ROOT / "docs" / "reference"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page}: {link}"


def test_every_setting_is_documented() -> None:
    text = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type)
        assert issubclass(field.annotation, BaseModel)
        for setting in field.annotation.model_fields:
            assert f"`{name}.{setting}`" in text


def test_every_setting_has_a_description_that_ends() -> None:
    for section in Settings.model_fields.values():
        assert isinstance(section.annotation, type)
        assert issubclass(section.annotation, BaseModel)
        for name, field in section.annotation.model_fields.items():
            assert (field.description or "").endswith("."), name


def test_every_metric_is_documented() -> None:
    text = (REFERENCE / "metrics.md").read_text(encoding="utf-8")
    for declaration in Metrics().declarations:
        assert f"`{declaration.name}`" in text


def test_every_command_is_documented() -> None:
    text = (REFERENCE / "commands.md").read_text(encoding="utf-8")
    names = {point.name for point in entry_points(group=COMMANDS) if point.value.startswith("pomona.")}
    assert len(names) >= 8
    for name in names:
        assert f"## pomona {name}\n" in text


def test_every_command_that_the_pages_mention_exists() -> None:
    names = {point.name for point in entry_points(group=COMMANDS)}
    for page in PAGES:
        for mentioned in re.findall(r"pomona ([a-z]+:[a-z-]+)", page.read_text(encoding="utf-8")):
            assert mentioned in names, f"{page}: pomona {mentioned}"


def test_the_reference_is_fresh() -> None:
    result = subprocess.run([sys.executable, "scripts/lib/reference.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "explain" / "architecture" / "index.html").read_text(encoding="utf-8")
    assert "https://fonts" not in page
    assert "unpkg.com" not in page


def test_every_source_file_that_the_pages_mention_exists() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"`((?:src/pomona/|tests/|scripts/)?(?:[a-z_]+/)+[a-z_]*\.?[a-z]*)`", text):
            folders = (ROOT, ROOT / "src" / "pomona")
            planned = name == "src/pomona/models/architectures/"  # created with the first architecture that mlx-lm lacks
            assert planned or any((folder / name).exists() for folder in folders), f"{page}: {name}"
