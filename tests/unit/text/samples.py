"""Tokenizers and texts that the tests of this folder share."""

from functools import cache
from pathlib import Path

from hypothesis import strategies as st

import pomona
from pomona.text.tokenizer import Tokenizer
from pomona.text.tokenizer_loading import load_tokenizer

DATA = Path(__file__).parents[2] / "data"
TINY = Path(pomona.__file__).parent / "models" / "bundled" / "pomona-tiny"
STORIES = DATA / "stories260K"
FOLDERS = (TINY, STORIES)

texts = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from("abc the  \n\t"),
        st.sampled_from("é日本語한국어ขค👩🏽\u200d💻🇩🇪\u0301\u0308\ufffd\ufeff▁"),
    ),
    max_size=60,
)


@cache
def tokenizer(folder: Path) -> Tokenizer:
    return load_tokenizer(folder)


def pieces(items: list[int], cuts: list[int]) -> list[list[int]]:
    """`items` cut into runs of the given lengths, over and over."""
    runs: list[list[int]] = []
    position = turn = 0
    while position < len(items):
        length = cuts[turn % len(cuts)]
        runs.append(items[position : position + length])
        position, turn = position + length, turn + 1
    return runs
