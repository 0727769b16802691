"""Extension points: entry-point groups that built-ins and other packages use alike."""

from importlib.metadata import EntryPoint, entry_points

COMMANDS = "pomona.commands"
TOOL_PARSERS = "pomona.tool_parsers"
"""Each a `pomona.text.tools.dialect.Dialect`."""


def plugins(group: str) -> dict[str, EntryPoint]:
    """Entry points of `group` by name, not loaded yet. On a clash the later distribution wins."""
    return {point.name: point for point in entry_points(group=group)}
