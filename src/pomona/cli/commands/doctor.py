"""`pomona doctor`: is this machine fit, and what is to be mended?"""

from collections import Counter
from typing import TYPE_CHECKING

import click

from pomona.cli.options import PomonaCommand, invocation_of, json_option

if TYPE_CHECKING:
    from pomona.ops.doctor.findings import Finding

MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


@click.command(cls=PomonaCommand)
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check this machine and say what to mend. Exits with 1 when something fails."""
    from dataclasses import asdict

    from pomona.cli.output import print_json, waiting
    from pomona.ops.doctor.examine import examine
    from pomona.ops.doctor.gather import gather

    invocation = invocation_of(context)
    with waiting("Looking at this machine", quiet=invocation.verbosity < 0):
        findings = examine(gather(invocation.overrides, invocation.profile))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _show(findings, quiet=invocation.verbosity < 0)
    if any(finding.state == "fail" for finding in findings):
        context.exit(1)


def _show(findings: "list[Finding]", *, quiet: bool) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        if quiet and finding.state == "ok":
            continue
        mark, color = MARKS[finding.state]
        click.echo(f"{click.style(mark, fg=color, bold=True)} {finding.check.ljust(width)}  {finding.found}")
        if finding.fix:
            click.echo(f"  {' ' * width}  {click.style('fix: ' + finding.fix, fg=color)}")
    counts = Counter(finding.state for finding in findings)
    parts = [f"{counts[state]} {word}" for state, word in (("ok", "well"), ("warn", "to look at"), ("fail", "to mend")) if counts[state]]
    click.secho(f"\n{', '.join(parts)}.", bold=True)
