"""Choose and build the quantised copy of the bundled model.

`measure` quantises the bf16 weights in several ways and compares each with the original on the same held-out tokens: size,
perplexity, mean KL divergence and agreement of the most likely token. `build` writes the chosen one as a model folder.

    python -m benchmarks.bundled_model measure SOURCE --chat test.jsonl --plain a.md --plain b.md
    python -m benchmarks.bundled_model build SOURCE TARGET --bits 8 --group-size 64
"""

import argparse
import importlib
import json
import math
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn

from pomona.models.cpu.expansion import expand_to_float32

# mlx-lm and transformers have no complete types.
library = cast("Any", importlib.import_module("mlx_lm.utils"))
WINDOW_TOKENS = 512
COPIED_FILES = ("chat_template.jinja", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
Model = Callable[[mx.array], mx.array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way to store the weights. `embedding_bits` differs from `bits` in mixed recipes; bits 16 is bf16 as it came."""

    name: str
    bits: int
    group_size: int = 64
    embedding_bits: int | None = None


RECIPES = (
    Recipe(name="bf16", bits=16),
    Recipe(name="8-bit, groups of 64", bits=8),
    Recipe(name="8-bit, groups of 32", bits=8, group_size=32),
    Recipe(name="6-bit, groups of 64", bits=6),
    Recipe(name="6-bit, groups of 32", bits=6, group_size=32),
    Recipe(name="4-bit, groups of 64", bits=4),
    Recipe(name="4-bit, groups of 32", bits=4, group_size=32),
    Recipe(name="mixed 6-bit, embedding 8-bit", bits=6, embedding_bits=8),
    Recipe(name="mixed 4-bit, embedding 8-bit, groups of 32", bits=4, group_size=32, embedding_bits=8),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Figures over all held-out positions. `divergence` is the mean KL(original || copy) in nats per token."""

    perplexity: float
    divergence: float
    agreement: float


def quantised(source: Path, recipe: Recipe) -> tuple[nn.Module, dict[str, Any]]:
    """The model of `source` stored as `recipe` says, and the config that describes it."""
    model, config = cast("tuple[nn.Module, dict[str, Any]]", library.load_model(source))
    if recipe.bits == 16:
        return model, config

    def predicate(path: str, _module: nn.Module) -> bool | dict[str, object]:
        if recipe.embedding_bits and path.endswith("embed_tokens"):
            return {"bits": recipe.embedding_bits, "group_size": recipe.group_size, "mode": "affine"}
        return True

    return cast(
        "tuple[nn.Module, dict[str, Any]]", library.quantize_model(model, config, recipe.group_size, recipe.bits, quant_predicate=predicate)
    )


def build(source: Path, target: Path, recipe: Recipe) -> int:
    """Write a complete model folder and return the bytes of its weights."""
    model, config = quantised(source, recipe)
    library.save_model(target, model)
    (target / "model.safetensors.index.json").unlink()
    config.pop("quantization_config", None)
    library.save_config(config, target / "config.json")
    for name in COPIED_FILES:
        shutil.copyfile(source / name, target / name)
    return (target / "model.safetensors").stat().st_size


def chat_documents(path: Path, tokenizer: Any, limit: int) -> Iterator[tuple[list[int], int]]:
    """Token ids of GSM8K's questions and answers as chats, and how many of them are the prompt, which is not scored.

    The answers lose their calculator marks and end in words, as those that the model was trained on do.
    """
    for line in path.read_text(encoding="utf-8").splitlines()[:limit]:
        row = json.loads(line)
        steps, result = re.sub(r"<<[^>]*>>", "", row["answer"]).split("####")
        answer = f"{steps.strip()}\nThe answer is {result.strip()}."
        question = [{"role": "user", "content": row["question"]}]
        prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template([*question, {"role": "assistant", "content": answer}], tokenize=False)
        yield tokenizer.encode(whole)[:WINDOW_TOKENS], len(tokenizer.encode(prompt))


def plain_documents(path: Path, tokenizer: Any, limit: int) -> Iterator[tuple[list[int], int]]:
    """Windows of plain text, scored from the second token on."""
    ids = tokenizer.encode(path.read_text(encoding="utf-8"))
    for start in range(0, min(len(ids), limit * WINDOW_TOKENS), WINDOW_TOKENS):
        window = ids[start : start + WINDOW_TOKENS]
        if len(window) > 1:
            yield window, 1


def compare(original: nn.Module, copy: nn.Module, documents: list[tuple[list[int], int]]) -> Quality:
    """Score `copy` against `original` on the same positions, both in float32."""
    loss = divergence = agreeing = 0.0
    positions = 0
    for ids, start in documents:
        inputs, targets = mx.array([ids[:-1]]), mx.array(ids[start:])
        wanted, found = _log_probabilities(original, inputs, start), _log_probabilities(copy, inputs, start)
        loss -= float(mx.take_along_axis(found, targets[:, None], axis=-1).sum())
        divergence += float((mx.exp(wanted) * (wanted - found)).sum())
        agreeing += float((wanted.argmax(-1) == found.argmax(-1)).sum())
        positions += targets.size
    return Quality(perplexity=math.exp(loss / positions), divergence=divergence / positions, agreement=agreeing / positions)


def _log_probabilities(model: nn.Module, inputs: mx.array, start: int) -> mx.array:
    return nn.log_softmax(cast("Model", model)(inputs)[0, start - 1 :])


def measure(source: Path, documents: list[tuple[list[int], int]]) -> Iterator[tuple[Recipe, int, Quality]]:
    """Each recipe with its bytes on disk and its quality."""
    original, _ = quantised(source, RECIPES[0])
    expand_to_float32(original)
    for recipe in RECIPES:
        with tempfile.TemporaryDirectory() as folder:
            size = build(source, Path(folder), recipe)
            copy = cast("nn.Module", library.load_model(Path(folder))[0])
            expand_to_float32(copy)
            mx.eval(copy.parameters())
        yield recipe, size, compare(original, copy, documents)


def main() -> None:
    """Parse the command line and run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("source", type=Path)
    measuring.add_argument("--chat", type=Path, action="append", default=[])
    measuring.add_argument("--plain", type=Path, action="append", default=[])
    measuring.add_argument("--documents", type=int, default=60, help="most documents (windows) of each file")
    building = commands.add_parser("build")
    building.add_argument("source", type=Path)
    building.add_argument("target", type=Path)
    building.add_argument("--bits", type=int, default=8)
    building.add_argument("--group-size", type=int, default=64)
    options = parser.parse_args()
    if options.command == "build":
        size = build(options.source, options.target, Recipe(name="chosen", bits=options.bits, group_size=options.group_size))
        sys.stdout.write(f"{options.target}: {size / 1e6:.2f} MB of weights\n")
        return
    tokenizer = cast("Any", importlib.import_module("transformers")).AutoTokenizer.from_pretrained(options.source, local_files_only=True)
    documents = [d for path in options.chat for d in chat_documents(path, tokenizer, options.documents)]
    documents += [d for path in options.plain for d in plain_documents(path, tokenizer, options.documents)]
    sys.stdout.write(f"{len(documents)} documents, {sum(len(ids) - start for ids, start in documents)} scored tokens\n")
    sys.stdout.write("| weights | MB | perplexity | KL to bf16 | same top token |\n|---|---|---|---|---|\n")
    for recipe, size, quality in measure(options.source, documents):
        sys.stdout.write(
            f"| {recipe.name} | {size / 1e6:.2f} | {quality.perplexity:.3f} | {quality.divergence:.5f} | {quality.agreement:.1%} |\n"
        )


if __name__ == "__main__":
    main()
