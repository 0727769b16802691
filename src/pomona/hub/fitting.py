"""Whether a model fits into the memory and onto the disk of this machine, before the first byte comes.

The factors are measured: a model of 317 million parameters, one pass over a prompt of 512 tokens, the largest memory of the process. As
stored (BF16): 1.14 of the weights. Expanded to float32: 1.23 of the float32 weights from BF16; from 8 and 4 bits 1.18 and 1.19 of float32
and packed weights together.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pomona.core.errors import DoesNotFit
from pomona.core.hub import FitReport, HubModel
from pomona.core.settings import Settings
from pomona.core.status import Fit
from pomona.models.device import runs_on_cpu
from pomona.models.probe import budget_of, probe_of

AS_STORED = "as stored"
FORM_BITS: Mapping[str, float] = {"8bit": 8.5, "4bit": 4.5, "mxfp4": 4.25, "nvfp4": 4.5}
"""Bits of a weight with its share of scales and biases, in groups of 64, 64, 32 and 16."""
FACTOR, EXPANDED_FACTOR = 1.15, 1.25
PROCESS_BYTES = 300 * 2**20
"""The interpreter and libraries of an engine process (90 MiB), and a small cache."""
FITS_SHARE = 0.85
"""A model that needs more of the budget than this is tight: long conversations and other models will find no room."""
DISK_RESERVE = 2**28
"""Left free on the disk whatever is downloaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What models may use here. `expands`: weights become float32 in memory, whatever they are stored as."""

    memory_bytes: int
    expands: bool = False
    free_disk: Callable[[Path], int] = lambda path: shutil.disk_usage(_existing(path)).free


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What getting a model takes from the disk, in bytes: the files that are missing, and a converted copy."""

    download_bytes: int
    converted_bytes: int = 0

    @property
    def total(self) -> int:
        """All together."""
        return self.download_bytes + self.converted_bytes


def this_machine(settings: Settings) -> Machine:
    """The budget of the settings, of the memory of the device on which models run here."""
    budget = budget_of(settings.residency, probe_of(settings.models)())
    return Machine(memory_bytes=budget, expands=settings.models.dequantize_on_cpu and runs_on_cpu(settings.models.device))


def fit_report(model: HubModel, machine: Machine, needs: Needs, disk: Path) -> FitReport:
    """What each form of the weights needs in memory. Forms that cannot be made of this model are left out."""
    required = {form: _required(form, weights, model, machine) for form, weights in form_bytes(model).items()}
    verdicts: dict[str, Fit] = {form: _verdict(bytes_, machine.memory_bytes) for form, bytes_ in required.items()}
    fitting = sorted((form for form, fit in verdicts.items() if fit == "fits"), key=lambda form: -form_bytes(model)[form])
    return FitReport(
        memory=verdicts,
        required_bytes=required,
        memory_bytes=machine.memory_bytes,
        download_bytes=needs.download_bytes,
        disk_free_bytes=machine.free_disk(disk),
        best=fitting[0] if fitting else None,
    )


def form_bytes(model: HubModel) -> dict[str, int]:
    """Bytes of the weights by form, as files. Empty where the hub does not say how large the model is."""
    forms: dict[str, int] = {}
    if model.weight_bytes is not None:
        forms[AS_STORED] = model.weight_bytes
    if model.parameters is not None and model.quantization is None:
        forms |= {form: int(model.parameters * bits / 8) for form, bits in FORM_BITS.items()}
    return forms


def check_memory(report: FitReport, form: str, name: str) -> None:
    """Raises DoesNotFit where the model in this form needs more than there is, with what would fit."""
    if report.memory.get(form) != "no":
        return
    advice = f"Its form {report.best!r} would fit: --quantize {report.best}. " if report.best in FORM_BITS else ""
    raise DoesNotFit(
        f"{name!r} ({form}) needs about {_gib(report.required_bytes[form])} of memory, and models may use {_gib(report.memory_bytes)} here "
        f"(residency.memory_bytes). {advice}Get it all the same with --force.",
        required_bytes=report.required_bytes[form],
        available_bytes=report.memory_bytes,
    )


def check_disk(needs: Needs, machine: Machine, cache: Path, converted: Path) -> None:
    """Raises DoesNotFit where the disk of the cache, or that of the converted models, has no room for what is to come."""
    same = _existing(cache).stat().st_dev == _existing(converted).stat().st_dev
    _check_room(needs.total if same else needs.download_bytes, needs, machine, cache)
    if not same:
        _check_room(needs.converted_bytes, needs, machine, converted)


def _check_room(size: int, needs: Needs, machine: Machine, folder: Path) -> None:
    free = machine.free_disk(folder)
    if size + DISK_RESERVE <= free or size == 0:
        return
    copy = f" and {_gib(needs.converted_bytes)} for the converted copy" if needs.converted_bytes else ""
    raise DoesNotFit(
        f"The disk of {str(folder)!r} has {_gib(free)} free; the download needs {_gib(needs.download_bytes)}{copy}, and "
        f"{_gib(DISK_RESERVE)} stay free. Make room (`pomona remove NAME`), or choose another disk with HF_HOME and hub.converted_folder.",
        required_bytes=size + DISK_RESERVE,
        available_bytes=free,
    )


def _required(form: str, weights: int, model: HubModel, machine: Machine) -> int:
    if not (machine.expands and model.parameters):
        return int(weights * FACTOR) + PROCESS_BYTES
    packed = form != AS_STORED or model.quantization is not None
    return int((model.parameters * 4 + (weights if packed else 0)) * EXPANDED_FACTOR) + PROCESS_BYTES


def _verdict(required: int, budget: int) -> Fit:
    if required > budget:
        return "no"
    return "fits" if required <= budget * FITS_SHARE else "tight"


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest one above that is there."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.0f} MiB"
