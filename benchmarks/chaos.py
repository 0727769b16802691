"""Streams that must come out exact while engines are killed, sockets cut, disks filled and clocks jump; a report of one such run.

Owns: its table. Does not own: what happens and how it is judged (tests/chaos). Start reading at `main`.
"""

import argparse
import asyncio
import json
import random
import sys
from pathlib import Path

import psutil

from benchmarks.tables import write_between_marks
from tests.chaos.plan import make_plan
from tests.chaos.run import Report, run

PAGE = Path("docs/explain/chaos.md")
ROUND_STREAMS = 100


def main() -> None:
    """Run once, print, and exit with 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="scripts/bench chaos", description=__doc__)
    parser.add_argument("--streams", type=int, default=500, help="requests of clients that mean it; a fifth as many more do not")
    parser.add_argument("--seed", type=int, default=None, help="replays a run: the same requests, manners and faults in the same order")
    parser.add_argument("--no-kills", action="store_true", help="break everything but engines")
    parser.add_argument("--json", action="store_true", help="print everything as JSON instead of a table")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE}")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**31) if options.seed is None else options.seed
    print(f"seed {seed}", file=sys.stderr)
    plan = make_plan(seed, options.streams, kills=not options.no_kills, disks=hasattr(psutil.Process, "rlimit"))
    report = asyncio.run(run(plan, rounds=max(2, options.streams // ROUND_STREAMS)))
    print(json.dumps(report.document(), indent=2) if options.json else f"{table(report)}\n\n" + "\n".join(report.problems))
    if options.write:
        write_between_marks(PAGE, "chaos", table(report))
    sys.exit(1 if report.problems else 0)


def table(report: Report) -> str:
    """What was done and what came of it, as Markdown."""
    rows = {
        f"requests, seed {report.seed}": f"{report.streams} and {report.outcomes['nonsense refused']} that are none",
        "exact: the text, tokens and end of a quiet server": f"{report.outcomes['exact'] + report.outcomes['exact, stalled']}",
        "of them, readers that stalled": f"{report.outcomes['exact, stalled']}",
        "left by their client, exact until then": f"{report.outcomes['cut by the client']}",
        "nonsense, refused as it should be": f"{report.outcomes['nonsense refused']}",
        "everything else": f"{_everything_else(report)}",
        "engines killed, aborted, hung": ", ".join(f"{report.faults[kind]}" for kind in ("kill", "abort", "hang")),
        "a hung engine was found after": _found(report),
        "engines paused for half a second": f"{report.faults['pause']}",
        "clock jumps; times that the disk was full": f"{report.faults['clock']}; {report.faults['fill']}",
        "files of kept pages spoilt": f"{report.faults['spoil']}",
        "loads and unloads of another model": f"{report.faults['load'] + report.faults['unload']}",
        "liveness asked; not 200": f"{report.health.total()}; {sum(text.startswith('health') for text in report.problems)}",
        "KV pages, rows, processes left": _left(report),
        "descriptors of the gateway, before and after": f"{report.readings[0].descriptors}, {report.readings[-1].descriptors}",
        "memory of the gateway after each round": ", ".join(f"{each.rss_bytes / 2**20:.0f}" for each in report.readings[1:]) + " MiB",
        "time": f"{report.seconds:.0f} s",
    }
    return "\n".join(["| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows.items())])


def _everything_else(report: Report) -> int:
    good = ("exact", "exact, stalled", "cut by the client", "nonsense refused")
    return sum(count for outcome, count in report.outcomes.items() if outcome not in good)


def _found(report: Report) -> str:
    found = report.found_seconds
    return f"{min(found):.1f} to {max(found):.1f} s" if found else "none hung"


def _left(report: Report) -> str:
    last = report.readings[-1]
    return f"{last.pages_used:g}, {last.rows:g}, {last.engines - 2}"


if __name__ == "__main__":
    main()
