"""`pomona list` and `pomona show`."""

import asyncio
from typing import TYPE_CHECKING

import click

from pomona.cli.options import PomonaCommand, complete_model, invocation_of, json_option
from pomona.core.errors import ModelNotFound

if TYPE_CHECKING:
    from pomona.cli.output import Cell
    from pomona.core.settings import Settings
    from pomona.models.catalog import CatalogEntry
    from pomona.models.validation import FolderFacts

KINDS = {"bundled": "bundled", "folder": "folder", "hub": "Hugging Face cache", None: "?"}
TASKS = {"generate": "writes text", "embed": "makes vectors of texts", "rerank": "ranks documents"}


@click.command(cls=PomonaCommand)
@json_option
@click.pass_context
def list_models(context: click.Context, as_json: bool) -> None:
    """List the models on this machine: aliases, the bundled one, folders of models.folders, registered ones, the Hugging Face cache."""
    from pomona.app import model_names
    from pomona.cli.output import print_json, print_table
    from pomona.models.catalog import list_models as look_up

    settings = invocation_of(context).settings(log_level="warning").settings
    entries = look_up(settings.models, names=model_names(settings))
    if as_json:
        print_json([document(entry, default=settings.models.default) for entry in entries])
        return
    rows = [_row(entry, default=settings.models.default) for entry in entries]
    columns = ("model", "kind", "task", "architecture", "parameters", "size", "weights", "context")
    print_table(columns, rows, color=context.color, numeric=("parameters", "size", "context"))
    for entry in entries:
        if entry.problem:
            click.echo(f"{click.style(f'{entry.id} cannot be used:', fg='red')} {entry.problem}", err=True)


@click.command(cls=PomonaCommand)
@click.argument("name", required=False, shell_complete=complete_model)
@click.option("--remote", is_flag=True, help="Ask the hub, even if the model is on this machine.")
@json_option
@click.pass_context
def show_model(context: click.Context, name: str | None, remote: bool, as_json: bool) -> None:
    """Show what is known of NAME: an alias, a name from `pomona list`, a folder, or a repository, here or on the hub.

    Of a model on the hub, whether it would fit into this machine. Without NAME, the default model.
    """
    from pomona.app import model_names
    from pomona.cli.output import print_facts, print_json
    from pomona.models.catalog import describe
    from pomona.models.references import resolve

    settings = invocation_of(context).settings(log_level="warning").settings
    wanted, names = name or settings.models.default, model_names(settings)
    try:
        if remote:
            raise ModelNotFound("")
        resolve(wanted, settings.models, names=names)
    except ModelNotFound as absent:
        _show_remote(settings, wanted, absent, as_json=as_json)
        return
    entry = describe(wanted, settings.models, names=names)
    if as_json:
        print_json(document(entry, default=settings.models.default))
    else:
        print_facts(_lines(entry))
    if entry.problem:
        context.exit(1)


def _show_remote(settings: "Settings", name: str, absent: ModelNotFound, *, as_json: bool) -> None:
    """A repository of the hub. Raises `absent` where the name cannot be one, or the hub may not be asked."""
    from pomona.app import hub_parts
    from pomona.cli.models.fit import fit_lines, model_document, model_lines
    from pomona.cli.output import print_facts, print_json, waiting
    from pomona.core.errors import InvalidRequest

    hub = hub_parts(settings).hub
    if hub.connection.is_offline and absent.message:
        raise absent
    try:
        with waiting("Asking the hub", quiet=as_json):
            model, report = asyncio.run(hub.describe(name))
    except InvalidRequest:
        raise (absent if absent.message else ModelNotFound(f"{name!r} is no repository of the hub.")) from None
    if as_json:
        print_json(model_document(model, report))
    else:
        print_facts({**model_lines(model), **fit_lines(report), "get it": f"pomona pull {name}"})


def document(entry: "CatalogEntry", *, default: str) -> dict[str, object]:
    """An entry as plain data; sizes in bytes."""
    facts = entry.facts
    return {
        "id": entry.id,
        "default": entry.id == default,
        "kind": entry.kind,
        "path": str(entry.path) if entry.path else None,
        "alias_of": entry.alias_of,
        "base": entry.base,
        "adapter": _adapter_document(entry),
        "created": entry.created,
        "problem": entry.problem,
        "architecture": facts.architecture if facts else None,
        "model_type": facts.model_type if facts else None,
        "parameters": facts.parameters if facts else None,
        "weight_bytes": facts.weight_bytes if facts else None,
        "dtype": facts.dtype if facts else None,
        "quantization": facts.quantization if facts else None,
        "max_context": facts.max_context if facts else None,
        "vocabulary": facts.vocabulary if facts else None,
        "has_chat_template": facts.has_chat_template if facts else None,
        "task": facts.task if facts else None,
    }


def _adapter_document(entry: "CatalogEntry") -> dict[str, object] | None:
    adapter = entry.adapter
    if adapter is None:
        return None
    return {
        "path": str(adapter.path),
        "layout": adapter.layout,
        "method": "dora" if adapter.dora else "lora",
        "rank": adapter.rank,
        "targets": list(adapter.targets),
        "weight_bytes": adapter.weight_bytes,
    }


def _row(entry: "CatalogEntry", *, default: str) -> "list[str | Cell]":
    from pomona.cli.output import human_bytes, human_count

    name: Cell = (f"{entry.id} (default)", "bold") if entry.id == default else (entry.id, "")
    kind = f"alias of {entry.alias_of}" if entry.alias_of else f"adapter of {entry.base}" if entry.base else KINDS[entry.kind]
    if entry.facts is None:
        return [name, kind, ("cannot be used", "red"), "", "", "", "", ""]
    facts = entry.facts
    weights = facts.quantization or facts.dtype
    context = str(facts.max_context) if facts.max_context else "?"
    return [name, kind, facts.task, facts.architecture, human_count(facts.parameters), human_bytes(facts.weight_bytes), weights, context]


def _lines(entry: "CatalogEntry") -> dict[str, str]:
    from pomona.cli.output import human_bytes, human_count

    lines = {"model": entry.id, "kind": f"adapter of {entry.base}" if entry.base else KINDS[entry.kind]}
    if entry.alias_of:
        lines["alias of"] = entry.alias_of
    if entry.path:
        lines["folder"] = str(entry.path)
    if entry.problem:
        lines["problem"] = click.style(entry.problem, fg="red")
    if entry.facts is None:
        return lines
    facts = entry.facts
    if entry.adapter is not None:
        adapter = entry.adapter
        lines["adapter"] = (
            f"{'DoRA' if adapter.dora else 'LoRA'} ({adapter.layout}), rank {adapter.rank}, {human_bytes(adapter.weight_bytes)}"
        )
        lines["adapter folder"] = str(adapter.path)
        lines["changes"] = ", ".join(adapter.targets)
    return {
        **lines,
        "task": TASKS[facts.task],
        "architecture": f"{facts.architecture} ({facts.model_type})",
        "parameters": human_count(facts.parameters),
        "size": human_bytes(facts.weight_bytes),
        "weights": f"{facts.dtype}, {facts.quantization}" if facts.quantization else facts.dtype,
        "context": f"{facts.max_context} tokens" if facts.max_context else "not said in its files",
        "vocabulary": f"{facts.vocabulary} tokens" if facts.vocabulary else "not said in its files",
        **({"chat template": _template(facts)} if facts.task == "generate" else {}),
    }


def _template(facts: "FolderFacts") -> str:
    return "yes" if facts.has_chat_template else "no: `pomona generate --raw` continues text"
