"""Prompts of a wanted number of tokens for a server whose tokenizer we do not have."""

import random
from dataclasses import dataclass

# Common words: most tokenizers have a token of their own for each, so that the number of tokens grows evenly with that of words.
_TEXT = (
    "the river runs down from the old hill and on to the sea where a small boat waits for the wind while two children play with "
    "their dog near a house that has a red door and many trees in the garden one day they find a box with a letter inside it says "
    "come to the market before noon and bring some bread for the man who sells fish because he knows the way to the tower at the "
    "end of the long road there is always more to see when you walk slowly and look at every stone"
)
_WORDS = tuple(_TEXT.split())
CALIBRATION_WORDS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptWriter:
    """Writes prompts of about the wanted length; `tokens_per_word` and `overhead` come from two measured prompts."""

    tokens_per_word: float
    overhead: float = 0.0

    @classmethod
    def from_counts(cls, short: tuple[int, int], long: tuple[int, int]) -> "PromptWriter":
        """Fit a line through two (words, tokens) pairs."""
        slope = max((long[1] - short[1]) / (long[0] - short[0]), 0.01)
        return cls(tokens_per_word=slope, overhead=max(short[1] - slope * short[0], 0.0))

    def write(self, tokens: int, seed: int) -> str:
        """A prompt of about `tokens` tokens. Different seeds share no beginning that a prefix cache could use."""
        return words(max(1, round((tokens - self.overhead) / self.tokens_per_word)), seed)


def words(count: int, seed: int) -> str:
    """`count` words in an order that the seed decides."""
    return " ".join(random.Random(seed).choices(_WORDS, k=count))
