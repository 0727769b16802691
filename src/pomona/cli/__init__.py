"""The command `pomona`: words of a person in, text on a terminal out.

Owns: command names, options, exit codes, all that is printed. Does not own: composition (`pomona.app`), checks and load (`pomona.ops`).
Start reading at `group.py` (how commands are found), then `commands/`. Nothing heavy is imported before a command runs.
"""

from pomona.cli.group import root

__all__ = ["main", "root"]


def main() -> None:
    """Run the command line of this process and exit."""
    root()
