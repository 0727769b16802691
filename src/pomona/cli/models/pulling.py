"""`pomona pull`: get a model from the hub."""

import asyncio
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from pomona.cli.options import PomonaCommand, invocation_of, json_option

if TYPE_CHECKING:
    from pomona.core.hub import PullRequest, Quantization
    from pomona.hub.planning import Plan
    from pomona.hub.pulling import Puller


class PullOptions(TypedDict):
    """What the options of `pull` say."""

    quantize: "Quantization | None"
    alias: str | None
    force: bool


@click.command(cls=PomonaCommand)
@click.argument("reference", metavar="MODEL")
@click.option("--quantize", type=click.Choice(["4bit", "8bit", "mxfp4", "nvfp4"]), help="Make a smaller copy of its weights and use that.")
@click.option("--as", "alias", metavar="NAME", help="A name of your own for it.")
@click.option("-f", "--force", is_flag=True, help="Also where it does not fit into memory or cannot be loaded.")
@click.option("--dry-run", is_flag=True, help="Say what it takes and whether it fits; get nothing.")
@json_option
@click.pass_context
def pull(context: click.Context, reference: str, dry_run: bool, as_json: bool, **options: "Unpack[PullOptions]") -> None:
    """Get MODEL from the hub: ORGANISATION/NAME, with @REVISION or without, or one GGUF file, ORGANISATION/NAME/FILE.gguf.

    Memory and disk are checked before the first byte. A download that broke or was interrupted goes on where it stopped. The files are
    in the cache of Hugging Face's own tools, so what they got is not downloaded again.

    \b
      pomona pull mlx-community/Qwen3-4B-4bit
      pomona pull Qwen/Qwen3-8B --quantize 4bit --as qwen
      pomona pull Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf
    """
    from pomona.app import hub_parts
    from pomona.cli.output import print_json
    from pomona.core.hub import PullRequest

    invocation = invocation_of(context)
    settings = invocation.settings(log_level="warning").settings
    puller = hub_parts(settings).puller
    request = PullRequest(reference=reference, quantize=options["quantize"], force=options["force"], name=options["alias"])
    if dry_run:
        _show_plan(asyncio.run(puller.planner.plan(request)), as_json=as_json)
        return
    model = _run(puller, request, quiet=as_json or invocation.verbosity < 0)
    if as_json:
        print_json({"reference": reference, "model": options["alias"] or model, "name": model})
    elif invocation.verbosity >= 0:
        click.echo(_what_next(puller, model, options["alias"]))


def _what_next(puller: "Puller", model: str, alias: str | None) -> str:
    from pomona.models.adapters.reading import is_adapter
    from pomona.models.hub_cache import find_snapshot

    repository, _, revision = model.partition("@")
    snapshot = find_snapshot(repository, revision or None, puller.hub_cache) if repository.count("/") == 1 else None
    if snapshot is not None and is_adapter(snapshot):
        return f"The adapter {model} is here. Try: pomona chat -m MODEL+{model}, with the model that it was made for"
    return f"{alias or model} is here. Try: pomona chat -m {alias or model}"


def _run(puller: "Puller", request: "PullRequest", *, quiet: bool) -> str:
    from pomona.cli.models.progress import shown_progress

    try:
        with shown_progress(request.reference, quiet=quiet) as note:
            return asyncio.run(puller.pull(request, note))
    except KeyboardInterrupt:
        click.echo(f"Interrupted. What came is kept: `pomona pull {request.reference}` goes on from there.", err=True)
        raise


def _show_plan(plan: "Plan", *, as_json: bool) -> None:
    from pomona.cli.models.fit import fit_lines, report_document
    from pomona.cli.output import human_bytes, print_facts, print_json

    if as_json:
        document = {"model": plan.repository.id, "commit": plan.repository.commit, "files": [file.name for file in plan.files]}
        print_json({**document, "form": plan.form, **report_document(plan.report), "converted_bytes": plan.needs.converted_bytes})
        return
    copy = {"converted copy": human_bytes(plan.needs.converted_bytes)} if plan.needs.converted_bytes else {}
    facts = {"model": plan.repository.id, "commit": plan.repository.commit, "files": ", ".join(file.name for file in plan.files)}
    print_facts({**facts, **copy, **fit_lines(plan.report)})
