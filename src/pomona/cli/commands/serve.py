"""`pomona serve`: a server in the foreground."""

import asyncio
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pomona.cli.options import PomonaCommand, device_option, invocation_of, model_option, setting_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from pomona.app import Serving
    from pomona.core.status import Task

SHOWN_MODELS = 6
_TRIES: "dict[Task, tuple[str, dict[str, object]]]" = {
    "generate": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello!"}]}),
    "embed": ("/v1/embeddings", {"input": "Hello!"}),
    "rerank": ("/v1/rerank", {"query": "Where do apples grow?", "documents": ["On trees.", "In a drawer."]}),
}
"""The first thing to ask of a model, by what it does."""
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


class Size(click.ParamType[int]):
    """A number of bytes: 500000000, 512M, 4GiB. Units are powers of 1024."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Text to bytes."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", str(value).strip().lower())
        if match is None:
            self.fail(f"{value!r} is no size. Write bytes or a unit, such as 512M or 4G.", param, ctx)
        return int(float(match[1]) * _UNITS[match[2]])


@click.command(cls=PomonaCommand)
@model_option
@setting_option("--host", setting="server.host", metavar="ADDRESS", help="Address of the API; 0.0.0.0 lets others in, with API keys.")
@setting_option("-p", "--port", setting="server.port", type=click.IntRange(0, 65535), metavar="N", help="Port of the API; 0 picks one.")
@setting_option("--admin-port", setting="server.admin_port", type=click.IntRange(0, 65535), metavar="N", help="Port of health and metrics.")
@setting_option("--insecure", setting="access.insecure", is_flag=True, help="Let other machines in without API keys.")
@device_option
@setting_option("--max-rows", setting="engine.max_rows", type=int, metavar="N", help="Most requests that decode together.")
@setting_option("--max-waiting", setting="engine.max_waiting", type=int, metavar="N", help="Most requests that wait.")
@setting_option("--max-context", setting="engine.max_context", type=int, metavar="N", help="Longest prompt and answer, in tokens.")
@setting_option("--kv-cache", setting="engine.kv_cache_bytes", type=Size(), metavar="SIZE", help="Memory for keys and values, such as 4G.")
@setting_option("--prefix-cache/--no-prefix-cache", setting="engine.prefix_cache", default=True, help="Reuse equal prompt beginnings.")
@click.option("--ready-file", type=click.Path(dir_okay=False, path_type=Path), help="Write url, admin_url, pid and model here when ready.")
@click.pass_context
def serve(context: click.Context, ready_file: Path | None) -> None:
    """Serve a model to OpenAI's and Anthropic's clients until Ctrl-C.

    \b
      pomona serve
      pomona serve --model ~/models/qwen3-8b --port 8080 --kv-cache 8G
    """
    from pomona.app import load_app
    from pomona.cli.output import waiting

    invocation = invocation_of(context)
    settings = invocation.settings().settings
    if ready_file:
        _check_writable(context, ready_file)
    with waiting(f"Loading {settings.models.default}", quiet=invocation.verbosity < 0) as loaded:
        app = load_app(settings)  # inside: the logs then know of the spinner

        def announce(serving: "Serving") -> None:
            loaded()
            if invocation.verbosity >= 0:
                _show_banner(serving)
            if ready_file:
                write_ready_file(ready_file, serving)

        try:
            with asyncio.Runner(loop_factory=_fast_loop()) as runner:
                runner.run(app.serve(announce))
        finally:
            if ready_file:
                ready_file.unlink(missing_ok=True)


def _fast_loop() -> "Callable[[], asyncio.AbstractEventLoop] | None":
    """uvloop's, a tenth cheaper per token, where uvicorn brought it along (not on Windows); else Python's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def write_ready_file(path: Path, serving: "Serving") -> None:
    """Write the addresses in one step, so that a reader never sees half a file."""
    document = {"url": serving.public_url, "admin_url": serving.admin_url, "pid": os.getpid(), "model": serving.model}
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_text(json.dumps(document) + "\n", encoding="utf-8")
    half.replace(path)


def banner(serving: "Serving") -> str:
    """What a person sees when the server is ready: where it is, what it serves, what to try."""
    from pomona.cli.output import human_bytes, human_seconds

    facts = serving.facts
    path, fields = _TRIES[serving.task]
    body = json.dumps({"model": serving.model, **fields})
    kept = f", {human_bytes(facts.kv_budget_bytes)} for keys and values" if serving.task == "generate" else ""
    rows = {
        "model": f"{serving.model} ({facts.architecture}, {human_bytes(facts.weight_bytes)})",
        "loaded": f"in {human_seconds(facts.load_seconds)}",
        "device": f"{facts.device}{kept}",
        "context": f"{facts.max_context} tokens",
        **({"models": _models(serving)} if len(serving.loaded) + len(serving.others) > 1 else {}),
        "health": f"{serving.admin_url}/health",
        "try": f"curl {serving.public_url}{path} -H 'Content-Type: application/json' \\\n            -d '{body}'",
        "stop": "Ctrl-C",
    }
    title = click.style(f"Pomona is ready at {serving.public_url}", bold=True, fg="green")
    lines = [f"  {click.style(name.ljust(8), dim=True)}{value}" for name, value in rows.items()]
    warnings = [f"  {click.style('note'.ljust(8), fg='yellow')}{text}" for text in facts.warnings]
    return "\n".join([title, *lines, *warnings])


def _models(serving: "Serving") -> str:
    """What is in memory, and what else can be asked for."""
    shown, more = ", ".join(serving.others[:SHOWN_MODELS]), len(serving.others) - SHOWN_MODELS
    on_demand = f"; on demand: {shown}" + (f" and {more} more (pomona list)" if more > 0 else "") if serving.others else ""
    return f"in memory: {', '.join(serving.loaded)}{on_demand}"


def _show_banner(serving: "Serving") -> None:
    click.echo(banner(serving), err=True)


def _check_writable(context: click.Context, path: Path) -> None:
    """Say now what would otherwise fail after the model was loaded."""
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise click.UsageError(
            f"--ready-file {str(path)!r} cannot be written: {str(path.parent)!r} is no folder that you can write to.", context
        )
    path.unlink(missing_ok=True)
