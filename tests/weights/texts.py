"""Texts whose vectors are recorded, and where."""

from pathlib import Path

RECORDED = Path(__file__).parents[1] / "data" / "minilm" / "vectors.json"
TEXTS = (
    "The sky is blue.",
    "a",
    "Der Himmel über Köln ist grün — nicht blau! 😀",
    "ALL CAPITALS, and\ttabs\nand lines",
    "日本語のテキスト",
    "def f(x): return x ** 2  # code",
    "long " * 250,
    "cut " * 400,
)
