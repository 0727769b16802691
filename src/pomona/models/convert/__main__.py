"""`python -m pomona.models.convert SOURCE TARGET [--quantize FORM] [--gguf FILE]`: a process of its own, started by `pomona.hub`.

Each line on standard output is a JSON object: {"done": bytes, "total": bytes, "what": text} now and then, at last {"finished": bytes}
or {"error": message, "code": code}. Exits 0, or 3 after an error.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import get_args

from pomona.core.errors import PomonaError
from pomona.core.hub import Quantization

EXIT_REFUSED = 3
REPORT_SECONDS = 0.2


class Reporter:
    """Says how far the work is, a few times a second at most, and always at its end."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, done: int, total: int, what: str) -> None:
        """Report, if it is time."""
        now = time.monotonic()
        if now >= self._next or done == total:
            self._next = now + REPORT_SECONDS
            say({"done": done, "total": total, "what": what})


def main(arguments: list[str]) -> int:
    """Convert; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pomona.models.convert", description="Quantise a model, or convert a GGUF file.")
    parser.add_argument("source", type=Path, help="model folder, or a GGUF file")
    parser.add_argument("target", type=Path, help="folder to make")
    parser.add_argument("--quantize", choices=get_args(Quantization), help="pack the weights")
    parser.add_argument("--gguf", type=Path, help="GGUF file to read, also by its name in SOURCE")
    chosen = parser.parse_args(arguments)
    try:
        say({"finished": _convert(chosen.source, chosen.target, chosen.quantize, chosen.gguf)})
    except PomonaError as error:
        say({"error": error.message, "code": error.code})
        return EXIT_REFUSED
    except OSError as error:
        say({"error": f"The converted model cannot be written: {error}.", "code": "does_not_fit"})
        return EXIT_REFUSED
    return 0


def _convert(source: Path, target: Path, form: Quantization | None, gguf: Path | None) -> int:
    from pomona.models.device import use_device

    use_device("cpu")
    if gguf is None and source.suffix == ".gguf":
        gguf = source
    if gguf is not None:
        from pomona.models.convert.gguf.convert import convert_gguf

        return convert_gguf(source / gguf if (source / gguf).is_file() else gguf, target, form, Reporter())
    from pomona.core.errors import InvalidRequest
    from pomona.models.convert.quantize import quantize

    if form is None:
        raise InvalidRequest(f"Nothing is to be done with {str(source)!r}: give --quantize, or a GGUF file.")
    return quantize(source, target, form, Reporter())


def say(document: dict[str, object]) -> None:
    """One line for the process that started this one."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
