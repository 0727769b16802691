"""What grammars cost on a GPU: the engine with and without them in the same run, on random weights of real shapes.

    scripts/bench gpu/grammar --shapes 8b,0.6b --batches 1,32

The vocabulary is as large as the shape's: the bundled model's tokens, and made-up words for the rest.
"""

import argparse
import random
import sys
from pathlib import Path

import mlx.core as mx

from benchmarks.gpu.model_shapes import SHAPES, Shape, build
from benchmarks.grammar import Pair, bound, run, table
from pomona.core.generation import Prompt, SamplingParams
from pomona.core.settings import EngineSettings
from pomona.engine.engine import Engine
from pomona.engine.grammar.compiler import GrammarCompiler
from pomona.engine.grammar.lexicon import Lexicon, read_lexicon

MODEL = Path(__file__).parents[2] / "src" / "pomona" / "models" / "bundled" / "pomona-tiny"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def main() -> None:
    """Print a table per shape."""
    options = _options()
    for name in options.shapes.split(","):
        pairs = _measure(SHAPES[name], options)
        print(f"{name}, {options.new_tokens} new tokens per row, medians of {options.repeats}\n\n{table(pairs)}\n", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="8b,0.6b", metavar="NAME,NAME", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--batches", default="1,32", metavar="N,N", help="rows that run together")
    parser.add_argument("--new-tokens", type=int, default=128, metavar="N")
    parser.add_argument("--repeats", type=int, default=5, metavar="N")
    return parser.parse_args()


def _measure(shape: Shape, options: argparse.Namespace) -> list[Pair]:
    lexicon = made_up_lexicon(shape.vocabulary)
    batches = [int(part) for part in options.batches.split(",")]
    settings = EngineSettings(max_rows=max(batches), prefix_cache=False)
    compiler = GrammarCompiler(lambda: lexicon, shape.vocabulary)
    engine = Engine(build(shape, mx.bfloat16), settings, vocabulary=shape.vocabulary, max_context=4096, grammars=compiler)
    pairs: list[Pair] = []
    for repeat in range(-1, options.repeats):
        for batch in batches:
            free = _prompts(shape, batch, repeat, options.new_tokens)
            speeds = [run(engine, half) for half in ((free, bound(free)) if repeat % 2 else (bound(free), free))]
            first, second = speeds if repeat % 2 else reversed(speeds)
            if repeat >= 0:
                pairs.append(Pair(batch=batch, free=first, constrained=second))
    engine.close()
    mx.clear_cache()
    return pairs


def _prompts(shape: Shape, batch: int, repeat: int, new_tokens: int) -> list[Prompt]:
    source = random.Random(f"{shape.name} {batch} {repeat}")
    return [
        Prompt(
            id=f"{row}",
            token_ids=tuple(source.randrange(shape.vocabulary) for _ in range(128)),
            sampling=SamplingParams(temperature=1.0, seed=row),
            max_tokens=new_tokens,
        )
        for row in range(batch)
    ]


def made_up_lexicon(vocabulary: int) -> Lexicon:
    """The bundled model's tokens, and words for the rest of `vocabulary`; of a smaller one, only its first tokens."""
    known = read_lexicon(MODEL)
    source = random.Random(0)
    made_up = ["".join(source.choices(LETTERS, k=source.randint(3, 9))).encode() for _ in range(vocabulary - len(known.tokens))]
    special = frozenset(id for id in known.special_ids if id < vocabulary)
    return Lexicon(tokens=(*known.tokens, *made_up)[:vocabulary], special_ids=special, encode=known.encode)


if __name__ == "__main__":
    sys.exit(main())
