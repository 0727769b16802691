"""`pomona drafts`."""

from typing import TYPE_CHECKING

import click

from pomona.cli.options import PomonaCommand, complete_model, invocation_of, json_option

if TYPE_CHECKING:
    from pomona.models.drafts import DraftParty, DraftReport


@click.command(cls=PomonaCommand)
@click.argument("model", shell_complete=complete_model)
@click.argument("draft", shell_complete=complete_model)
@click.option("--acceptance", type=click.FloatRange(0, 1), help="Share of guesses that are right, if it was measured.")
@json_option
@click.pass_context
def check_drafts(context: click.Context, model: str, draft: str, acceptance: float | None, as_json: bool) -> None:
    """Say whether DRAFT can guess tokens ahead for MODEL, why not, and how much faster answers may become.

    Exits with 1 where it cannot. To use it: `draft = "DRAFT"` in [models.overrides."MODEL"].
    """
    from pomona.app import model_names
    from pomona.cli.output import print_facts, print_json
    from pomona.models.drafts import check_draft
    from pomona.models.references import resolve

    settings = invocation_of(context).settings(log_level="warning").settings
    names = model_names(settings)
    large, small = (resolve(name, settings.models, names=names) for name in (model, draft))
    report = check_draft(large.path, small.path, names=(large.id, small.id), acceptance=acceptance)
    if as_json:
        print_json(report.document())
    else:
        print_facts(_lines(report))
        for text in report.errors:
            click.echo(f"{click.style('Error:', fg='red')} {text}")
        for text in report.warnings:
            click.echo(f"{click.style('Warning:', fg='yellow')} {text}")
    if not report.compatible:
        context.exit(1)


def _lines(report: "DraftReport") -> dict[str, str]:
    lines = {"model": _party(report.primary), "draft model": _party(report.draft), "compatible": "yes" if report.compatible else "no"}
    if report.estimate is None:
        return lines
    found = report.estimate
    return {
        **lines,
        "size": f"{found.size_ratio:.1%} of the model's bytes",
        "expected": f"{found.expected_speedup:.2f} times as many tokens a second with {found.tokens} guesses, {found.acceptance:.0%} right",
        "advice": found.recommendation,
    }


def _party(party: "DraftParty") -> str:
    from pomona.cli.output import human_count

    if party.architecture is None:
        return party.id
    count = "?" if party.parameter_count is None else human_count(party.parameter_count)
    return f"{party.id} ({party.architecture}, {count} parameters, {party.vocab_size or '?'} tokens)"
