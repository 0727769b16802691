"""The pages of the documentation and what can be taken from them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])

FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#+ (?P<title>.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """A block of code on a page; `line` is where it starts."""

    page: Path
    line: int
    language: str
    code: str

    @property
    def name(self) -> str:
        """Page and line, for the names of tests."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def snippets(page: Path) -> list[Snippet]:
    """All blocks of code of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Snippet(page=page, line=text.count("\n", 0, match.start()) + 2, language=match["language"], code=match["code"])
        for match in FENCE.finditer(text)
    ]


def links(page: Path) -> list[str]:
    """The targets of all links of a page that lead to files."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [match["target"] for match in LINK.finditer(prose) if "://" not in match["target"]]


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page get, here and on GitHub."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", match["title"].lower()).strip().replace(" ", "-") for match in HEADING.finditer(prose)}
