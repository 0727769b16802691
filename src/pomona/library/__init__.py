"""Pomona as a Python library: models in this program, without HTTP.

Owns: `Engine` and `AsyncEngine`, what goes into them and what comes out. Does not own: how anything is answered (`pomona.app`).
Start reading at `asynchronous.py`; `engine.py` is the same for programs without an event loop.
"""

from pomona.library.answers import Answer, Call
from pomona.library.asynchronous import AsyncEngine
from pomona.library.engine import Engine
from pomona.library.options import Issue, ValidationFailed

__all__ = ["Answer", "AsyncEngine", "Call", "Engine", "Issue", "ValidationFailed"]
