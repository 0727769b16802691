"""Only clocks that cannot be set decide when something is due: the wall clock is for what people and other machines read."""

import ast
from collections import Counter

from tests.architecture.sources import Source, modules

MAY_LOOK_AT_THE_WALL = {
    "app.py": "keys end on a day; when a key was last used",
    "cli/commands/keys.py": "keys end on a day",
    "cli/models/beginnings.py": "shown to a person",
    "cli/residency/ps.py": "shown to a person",
    "compat/mlx_serving/describing.py": "told to clients",
    "core/tracing/marks.py": "told to clients",
    "engine/cache/disk/store.py": "the system dates files by it",
    "fleet/assembly.py": "events tell when they happened",
    "fleet/residency/means.py": "events tell when they happened",
    "fleet/residency/observing.py": "events tell when they happened",
    "hub/remote/faults.py": "a hub that names the date to come again",
    "server/access/door.py": "keys end on a day",
    "server/access/visits.py": "a header holds the date of a limit's end",
    "server/admin/cache.py": "told to clients",
    "server/admin/events.py": "a name for this life of the server",
    "server/openai/call.py": "told to clients",
    "server/openai/responses/compact.py": "told to clients",
    "server/openai/responses/reading/call.py": "told to clients",
    "server/openai/responses/writing/document.py": "told to clients",
    "text/templates.py": "chat templates that name the day",
}
WALL_CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}


def test_the_wall_clock_is_looked_at_only_where_a_date_is_meant() -> None:
    looking = {source.path.removeprefix("src/pomona/") for source in modules() if looks(source)}
    assert looking - MAY_LOOK_AT_THE_WALL.keys() == set(), "time.monotonic is for all that decides when something is due"
    assert MAY_LOOK_AT_THE_WALL.keys() - looking == set(), "these do not look at it any more: take them off the list"


def looks(source: Source) -> int:
    """How often a module names the wall clock, to call it or to hand it on."""
    names = Counter(ast.unparse(node) for node in ast.walk(source.tree) if isinstance(node, ast.Attribute))
    imported = [
        alias.name for node in ast.walk(source.tree) if isinstance(node, ast.ImportFrom) and node.module == "time" for alias in node.names
    ]
    return sum(names[name] for name in WALL_CLOCKS) + sum(name in {"time", "time_ns"} for name in imported)
