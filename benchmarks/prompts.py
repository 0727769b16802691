"""Prompts for benchmarks: made-up sentences from a seed, so that no two begin alike and no prefix cache can help anyone."""

import random
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

NAMES = ("Ada", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Ivy", "Jack", "Kate", "Leo", "Mia", "Noah", "Olive", "Paul")
ADJECTIVES = ("old", "small", "blue", "quiet", "happy", "broken", "heavy", "bright", "cold", "wooden", "empty", "golden", "soft", "strange")
NOUNS = ("boat", "garden", "letter", "dog", "house", "river", "train", "clock", "bird", "market", "lamp", "bridge", "coat", "apple", "hill")
VERBS = ("found", "saw", "painted", "lost", "carried", "opened", "bought", "drew", "followed", "cleaned", "forgot", "heard", "built")
ENDINGS = ("in the morning", "after the rain", "near the school", "with a friend", "for the first time", "on the way home", "before dinner")


def make_prompts(tokenizer_file: Path, lengths: Sequence[int], *, seed: int) -> tuple[list[list[int]], list[str]]:
    """One prompt per length, in tokens, as ids and as the text that the tokenizer turns into exactly these ids."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    source = random.Random(seed)
    pairs = [_prompt(tokenizer, source, length) for length in lengths]
    return [ids for ids, _ in pairs], [text for _, text in pairs]


def _prompt(tokenizer: Tokenizer, source: random.Random, length: int) -> tuple[list[int], str]:
    while True:
        text = " ".join(_sentence(source) for _ in range(length // 5 + 1))
        text = tokenizer.decode(tokenizer.encode(text).ids[:length])
        ids = tokenizer.encode(text).ids
        if len(ids) == length:
            return ids, text


def _sentence(source: random.Random) -> str:
    pick = source.choice
    first, second = (f"{pick(ADJECTIVES)} {pick(NOUNS)}" for _ in range(2))
    return f"{pick(NAMES)} {pick(VERBS)} the {first} of {pick(NAMES)} and a {second} {pick(ENDINGS)}."
