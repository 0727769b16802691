"""Whether a model fits, in words and as data."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pomona.cli.output import Cell
    from pomona.core.hub import FitReport, HubModel

COLORS = {"fits": "green", "tight": "yellow", "no": "red"}


def fit_lines(report: "FitReport") -> dict[str, str]:
    """Names and values for `print_facts`."""
    from pomona.cli.output import human_bytes

    forms = [
        f"{form} {click.style(fit, fg=COLORS[fit])} ({human_bytes(report.required_bytes[form])})" for form, fit in report.memory.items()
    ]
    return {
        "memory": "; ".join(forms) or "not known: the hub does not say how large it is",
        "memory for models": human_bytes(report.memory_bytes),
        "to download": f"{human_bytes(report.download_bytes)}, {human_bytes(report.disk_free_bytes)} free",
    }


def fit_cell(report: "FitReport") -> "str | Cell":
    """One word for a table: as it is stored, else in which smaller form."""
    stored = next(iter(report.memory.values()), None)
    if stored is None:
        return "?"
    if stored == "no" and report.best is not None:
        return f"as {report.best}", COLORS["tight"]
    return stored, COLORS[stored]


def report_document(report: "FitReport") -> dict[str, object]:
    """As plain data, sizes in bytes."""
    return {
        "fit": dict(report.memory),
        "required_bytes": dict(report.required_bytes),
        "memory_bytes": report.memory_bytes,
        "download_bytes": report.download_bytes,
        "disk_free_bytes": report.disk_free_bytes,
        "best": report.best,
    }


def model_document(model: "HubModel", report: "FitReport") -> dict[str, object]:
    """A repository of the hub as plain data."""
    from dataclasses import asdict

    return {**asdict(model), **report_document(report)}


def model_lines(model: "HubModel") -> dict[str, str]:
    """A repository of the hub for `print_facts`."""
    from pomona.cli.output import human_bytes, human_count

    loadable = {True: "yes", False: "no: its architecture is not known here", None: "not known"}[model.loadable]
    lines = {
        "model": model.id,
        "kind": "on the hub, not on this machine",
        "architecture": model.model_type or "not said",
        "can be loaded": loadable,
        "parameters": human_count(model.parameters) if model.parameters else "?",
        "size": human_bytes(model.weight_bytes),
        "weights": model.quantization or "plain",
        "access": ", ".join(word for word, holds in (("gated", model.gated), ("private", model.private)) if holds) or "open",
        "downloads": f"{human_count(model.downloads)}, {human_count(model.likes)} likes",
        "updated": (model.updated_at or "?")[:10],
    }
    return {**lines, "GGUF files": ", ".join(model.gguf_files)} if model.gguf_files else lines
