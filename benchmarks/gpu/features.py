"""What rows may ask for beside the next token, switched on for all rows of a batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from benchmarks.grammar import bound
from pomona.core.generation import Prompt, SamplingParams

Change = Callable[[int], SamplingParams]
CHANGES: Mapping[str, Change] = {
    "log-probs": lambda _: SamplingParams(temperature=0.0, logprobs=0),
    "five log-probs": lambda _: SamplingParams(temperature=0.0, logprobs=5),
    "seed": lambda row: SamplingParams(temperature=1.0, seed=row),
    "penalties": lambda _: SamplingParams(temperature=0.0, repetition_penalty=1.1, presence_penalty=0.2, frequency_penalty=0.1),
    "top-p": lambda row: SamplingParams(temperature=0.8, top_p=0.95, seed=row),
}
FEATURES = (*CHANGES, "grammar")


def feature_prompts(prompts: Sequence[Prompt], name: str) -> list[Prompt]:
    """The same prompts, each with the feature `name`."""
    if name == "grammar":
        return bound(list(prompts))
    return [replace(prompt, sampling=CHANGES[name](row)) for row, prompt in enumerate(prompts)]
