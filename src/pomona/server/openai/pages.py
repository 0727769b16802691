"""Lists of what is kept, a page at a time."""

from collections.abc import Mapping, Sequence

from pomona.core.errors import PomonaError


def page(documents: Sequence[Mapping[str, object]], *, after: str | None, limit: int, missing: PomonaError) -> dict[str, object]:
    """The `limit` documents behind the one with the id `after`, as OpenAI's list. Raises `missing` where there is none with that id."""
    start = 0
    if after is not None:
        start = next((place + 1 for place, each in enumerate(documents) if each["id"] == after), -1)
        if start < 0:
            raise missing
    shown = documents[start : start + limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": start + limit < len(documents),
    }
