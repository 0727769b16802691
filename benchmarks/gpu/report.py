"""The outcomes as Markdown, and the tables of the targets."""

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.gpu.cells import Outcome

TITLES = {
    "pomona": "Pomona's engine",
    "plain": "plain loop, equal lengths, no mask",
    "batch_generator": "mlx-lm BatchGenerator",
    "generate_step": "mlx-lm generate_step",
    "left_padded": "mlx-lm's batch cache, left padding",
    "floor": "floor from bytes",
    "served": "Pomona over HTTP",
    "in process": "its engine in process",
}


def report(outcomes: Sequence[Outcome]) -> str:
    """All tables for which there are outcomes."""
    parts = (
        ("total", "128 prompt and 128 new tokens a row, prompts included: tokens per second", _speeds),
        ("decode", "All rows decoding: tokens per second, by the tokens that rows begin with", _speeds),
        ("prefill", "A long prompt alone", _prefill),
        ("mixed", "Milliseconds between two tokens of a stream, alone and beside a long prompt", _mixed),
        ("passes", "A long prompt pass by pass: milliseconds to build and to start a pass on the host, and until it has run then", _passes),
        ("products", "Products of quantised weights, microseconds packed / expanded, by the number of rows", _products),
        ("features", "Switched on for all rows, as a ratio of plain rows", _features),
        ("http", "Served over HTTP: tokens per second, prompts included", _speeds),
    )
    tables: list[str] = []
    for part, title, table in parts:
        own = [one for one in outcomes if one.cell.part == part or (part == "decode" and one.cell.part == "floor")]
        if own:
            tables.append(f"{title}:\n\n{table(own)}")
    tables += _troubles(outcomes)
    return "\n\n".join(tables)


def _speeds(outcomes: Sequence[Outcome]) -> str:
    """A line for each contender, a column for each number of rows and context."""
    columns = sorted({(one.cell.shape, one.cell.context, one.cell.rows) for one in outcomes}, key=lambda place: (place[0] != "8b", *place))
    lines: list[str] = []
    for shape in dict.fromkeys(place[0] for place in columns):
        for context in dict.fromkeys(place[1] for place in columns if place[0] == shape):
            rows = [place[2] for place in columns if place[:2] == (shape, context)]
            own = [one for one in outcomes if (one.cell.shape, one.cell.context) == (shape, context)]
            lines.append(_grid(f"{shape}, {context:,} tokens", rows, own))
    return "\n\n".join(lines)


def _grid(title: str, rows: Sequence[int], outcomes: Sequence[Outcome]) -> str:
    values = {(one.cell.contender, one.cell.rows): one.values for one in outcomes}
    names = [name for name in (*TITLES, *dict.fromkeys(one.cell.contender for one in outcomes)) if any((name, n) in values for n in rows)]
    lines = [f"| {title} | " + " | ".join(f"{n} rows" if n > 1 else "1 row" for n in rows) + " |", "|---|" + "---:|" * len(rows)]
    for name in dict.fromkeys(names):
        cells = [_number(values.get((name, n), {}).get("tokens_per_second")) for n in rows]
        lines.append(f"| {TITLES.get(name, name)} | " + " | ".join(cells) + " |")
    for name, label in (
        ("batch_generator", "BatchGenerator"),
        ("plain", "the plain loop"),
        ("floor", "the floor"),
        ("in process", "in process"),
    ):
        ours = "served" if name == "in process" else "pomona"
        if any((name, n) in values for n in rows):
            cells = [_ratio(values.get((ours, n), {}), values.get((name, n), {})) for n in rows]
            lines.append(f"| *{TITLES[ours]} / {label}* | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _prefill(outcomes: Sequence[Outcome]) -> str:
    lines = ["| shape | prompt | | tokens/s | first token |", "|---|---:|---|---:|---:|"]
    for one in outcomes:
        speed, first = one.values.get("tokens_per_second"), one.values.get("first_seconds")
        name = TITLES.get(one.cell.contender, one.cell.contender)
        told = "" if first is None else f"{1000 * first:,.0f} ms"
        lines.append(f"| {one.cell.shape} | {one.cell.context:,} | {name} | {_number(speed)} | {told} |")
    return "\n".join(lines)


def _mixed(outcomes: Sequence[Outcome]) -> str:
    lines = [
        "| shape | streams, prompt | | alone, p50 / p99 | beside it, p50 / p99 | p99, ratio | its first token |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for one in (one for one in outcomes if one.values):
        v, cell = one.values, one.cell
        alone, beside = (f"{v[f'{name}_p50_ms']:.1f} / {v[f'{name}_p99_ms']:.1f} ms" for name in ("alone", "beside"))
        ratio = v["beside_p99_ms"] / v["alone_p99_ms"]
        name = TITLES.get(cell.contender, cell.contender)
        first = f"{1000 * v['first_seconds']:,.0f} ms"
        lines.append(f"| {cell.shape} | {cell.rows}, {cell.context:,} | {name} | {alone} | {beside} | {ratio:.1f} | {first} |")
    return "\n".join(lines)


def _passes(outcomes: Sequence[Outcome]) -> str:
    """A line for each pass of the prompts; then attention of one layer."""
    prompts = [one for one in outcomes if "passes" in one.values]
    lines = [
        "| shape | prompt | first token | pass | tokens | behind | build | start | run |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in prompts:
        v, name = one.values, f"{one.cell.context:,}, {one.cell.contender}"
        for number in range(int(v["passes"])):
            told = " | ".join(f"{v[f'{number} {what}']:,.0f}" for what in ("tokens", "start"))
            times = " | ".join(f"{v[f'{number} {what}_ms']:,.1f}" for what in ("build", "launch", "run"))
            head = f"{one.cell.shape} | {name} | {1000 * v['first_seconds']:,.0f} ms" if not number else " | | "
            lines.append(f"| {head} | {number} | {told} | {times} |")
    tables = ["\n".join(lines)] if prompts else []
    alone = [one for one in outcomes if "kernel_ms" in one.values]
    if alone:
        ways = ("kernel", "exact", "masked")
        lines = ["| shape | keys | tokens | " + " | ".join(f"{way}, first" for way in ways) + " |", "|---|---:|---:|" + "---:|" * len(ways)]
        for one in alone:
            cells = " | ".join(f"{one.values[f'{way}_ms']:,.2f}, {one.values[f'{way}_first_ms']:,.1f}" for way in ways)
            lines.append(f"| {one.cell.shape} | {one.cell.context:,} | {one.cell.contender.split()[-1]} | {cells} |")
        tables.append("Attention of a chunk, milliseconds of one layer, with what the first call took:\n\n" + "\n".join(lines))
    return "\n\n".join(tables)


def _products(outcomes: Sequence[Outcome]) -> str:
    done = [one for one in outcomes if one.values]
    rows = sorted({int(name.split()[1]) for one in done for name in one.values if name.startswith("packed ")})
    lines = ["| shape | layer | " + " | ".join(map(str, rows)) + " | packed up to |", "|---|---|" + "---:|" * (len(rows) + 1)]
    for one in done:
        cells = " | ".join(f"{one.values[f'packed {count}']:,.0f} / {one.values[f'expanded {count}']:,.0f}" for count in rows)
        lines.append(f"| {one.cell.shape} | {one.cell.contender} | {cells} | {one.values['most_packed_rows']:.0f} |")
    return "\n".join(lines)


def _features(outcomes: Sequence[Outcome]) -> str:
    lines = ["| shape | rows | | plain, tokens/s | with it, tokens/s | ratio |", "|---|---:|---|---:|---:|---:|"]
    for one in (one for one in outcomes if one.values):
        v, cell = one.values, one.cell
        plain, other = _number(v["plain_tokens_per_second"]), _number(v["tokens_per_second"])
        lines.append(f"| {cell.shape} | {cell.rows} | {cell.contender} | {plain} | {other} | {v['ratio']:.2f} |")
    return "\n".join(lines)


def _troubles(outcomes: Iterable[Outcome]) -> list[str]:
    told = [f"- {one.cell.key}: {one.trouble}" for one in outcomes if one.trouble]
    return ["Not measured:\n\n" + "\n".join(told)] if told else []


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _ratio(one: Mapping[str, float], other: Mapping[str, float]) -> str:
    above, below = one.get("tokens_per_second"), other.get("tokens_per_second")
    return f"{above / below:.2f}" if above and below else ""
