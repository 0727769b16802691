"""The part of the doctor that needs MLX. It runs in a child process: MLX may abort, and the command line must not load it.

Standard input is one JSON object (`device`, `blas`, `cache`), standard output another one, with fields of `DeviceFacts`.
"""

import json
import sys
from pathlib import Path
from typing import cast

from pomona.core.errors import PomonaError
from pomona.models.cpu.blas import BlasMode, prepare_blas
from pomona.models.cpu.product_speed import product_gigaflops
from pomona.models.device import DeviceChoice, needs_blas, use_device


def probe(wanted: dict[str, str]) -> dict[str, object]:
    """Choose BLAS and device as an engine would, and measure one product on CPUs."""
    facts: dict[str, object] = {"blas": None, "gigaflops": None}
    choice, mode = cast("DeviceChoice", wanted["device"]), cast("BlasMode", wanted["blas"])
    if needs_blas(choice):
        report = prepare_blas(mode, Path(wanted["cache"]))
        facts["blas"] = f"{report.library} ({report.route}, {report.threads} threads)" if report.route != "none" else None
        facts["blas_advice"] = report.warning
    try:
        device = use_device(choice)
    except (PomonaError, ImportError, RuntimeError) as error:
        return {**facts, "problem": str(error)}
    facts |= {"device": device.kind, "name": device.name, "memory": device.total_bytes}
    if device.kind == "cpu":
        facts["gigaflops"] = product_gigaflops()
    return facts


if __name__ == "__main__":
    json.dump(probe(json.load(sys.stdin)), sys.stdout)
