"""Print the versions of uv.lock as pip constraints, so that installs without uv get the same packages.

Needs nothing but the standard library: it runs before anything is installed.
"""

import sys
import tomllib
from pathlib import Path
from typing import Any


def constraints(lock: dict[str, Any]) -> list[str]:
    """One line per locked package, with a marker where the lock holds several versions of it."""
    lines: list[str] = []
    for package in lock["package"]:
        if "registry" in package["source"]:
            markers = package.get("resolution-markers", [])
            condition = " or ".join(f"({marker})" for marker in markers)
            lines.append(f"{package['name']}=={package['version']}" + (f" ; {condition}" if condition else ""))
    return lines


if __name__ == "__main__":
    print("\n".join(constraints(tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
