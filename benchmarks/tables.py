"""Measured rows as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Speeds = Mapping[tuple[str, int], float]
COMPARISONS = (
    ("Pomona over HTTP / its engine in process", "pomona-served", "pomona"),
    ("Pomona over HTTP / mlx_lm.server, same kernels", "pomona-served", "mlx-server-same"),
    ("Pomona over HTTP / mlx_lm.server, shipped", "pomona-served", "mlx-server"),
    ("Pomona's engine / BatchGenerator, same kernels", "pomona", "batch-same"),
    ("Pomona's engine / BatchGenerator, shipped", "pomona", "batch"),
    ("Pomona's engine / generate_step, same kernels", "pomona", "step-same"),
    ("Pomona's engine / generate_step, shipped", "pomona", "step"),
    ("Pomona's engine / llama.cpp", "pomona", "llama-cpp"),
    ("Pomona's engine / transformers, float32", "pomona", "transformers"),
    ("Pomona's engine / transformers, bfloat16", "pomona", "transformers-bf16"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Medians over the repeats: seconds, bytes. `tokens_per_second` is over all rows together and includes reading the prompts."""

    title: str
    kernels: str
    batch: int
    first_median: float
    first_worst: float
    tokens_per_second: float
    processor_seconds: float
    """Per 1,000 tokens, on all cores together: what other work on the machine changes least."""
    peak_bytes: int


def rows_table(rows: Sequence[Line]) -> str:
    """One line per contender and batch."""
    lines = [
        "| rows | | kernels | tokens/s | processor s / 1,000 tokens | first token, median | first token, slowest | peak memory |",
        "|---:|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        first = f"{row.first_median * 1000:,.0f} ms | {row.first_worst * 1000:,.0f} ms"
        memory = f"{row.peak_bytes / 2**20:,.0f} MiB"
        speed = f"{row.tokens_per_second:,.0f} | {row.processor_seconds:.1f}"
        lines.append(f"| {row.batch} | {row.title} | {row.kernels} | {speed} | {first} | {memory} |")
    return "\n".join(lines)


def ratios(speeds: Speeds, batches: Sequence[int]) -> str:
    """Tokens per second of one contender divided by those of another, for the pairs of which both were measured."""
    lines = ["| tokens/s, ratio | " + " | ".join(f"{batch} rows" for batch in batches) + " |", "|---|" + "---:|" * len(batches)]
    for title, above, below in COMPARISONS:
        found = {
            batch: speeds[above, batch] / speeds[below, batch] for batch in batches if {(above, batch), (below, batch)} <= speeds.keys()
        }
        if found:
            lines.append(f"| {title} | " + " | ".join(f"{found[batch]:.2f}" if batch in found else "" for batch in batches) + " |")
    return "\n".join(lines)


def write_between_marks(file: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->`. Raises ValueError where the marks are missing."""
    whole = file.read_text()
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = whole.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{file} has no marks {start.strip()!r} and {end!r}: add them where the table belongs.")
    file.write_text(f"{before}{start}{text}\n{end}{after}")
