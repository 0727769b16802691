"""Pomona: run, tune, shrink, ground and watch open models on your own machines.

Owns the version, and the names that programs import (`__init__.pyi` tells their types). Does not import anything heavy: `import pomona`
is instant. Start reading at `pomona.app`, or at `pomona.library` for `Engine`.
"""

import importlib

__version__ = "0.1.0"
_LIBRARY = frozenset({"AsyncEngine", "Engine"})


def __getattr__(name: str) -> object:
    if name in _LIBRARY:
        return getattr(importlib.import_module("pomona.library"), name)
    raise AttributeError(f"module 'pomona' has no attribute {name!r}")
