"""A decision as requests for one token each, and the probabilities that their answers hold.

A question with up to 26 options is one request. With more, one request weighs groups of options and one for each group weighs its
members: the probability of an option is that of its group times that within the group.
"""

import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pomona.core.generation import GenerateRequest, ReasoningOptions, SamplingParams
from pomona.core.messages import Message, TextPart
from pomona.server.openai.decisions.labels import Ids, Labels

MOST_LETTERS = len(string.ascii_uppercase)
_PUSH = 100.0
"""Added to the logits of labels, so that one of them is chosen. The log-probabilities reported are those before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request: what is asked, and the tokens of each answer."""

    text: str
    labels: tuple[Ids, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The requests of one question. `groups` are the options of each further request; empty where the first one weighs them all."""

    asks: tuple[Ask, ...]
    groups: tuple[range, ...] = ()


def plan_of(instructions: str, options: Sequence[str], labels: Labels) -> Plan:
    """How a question is asked; without options it is whether a statement is true."""
    if not options:
        return Plan(asks=(_truth(instructions, labels),))
    if len(options) <= MOST_LETTERS:
        return Plan(asks=(_pick(instructions, options, labels),))
    count = math.ceil(len(options) / MOST_LETTERS)
    size = math.ceil(len(options) / count)
    groups = tuple(range(start, min(start + size, len(options))) for start in range(0, len(options), size))
    shown = ["one of: " + "; ".join(options[place] for place in group) for group in groups]
    first = _pick(instructions, shown, labels)
    return Plan(asks=(first, *(_pick(instructions, [options[place] for place in group], labels) for group in groups)), groups=groups)


def request_of(ask: Ask, judged: str, *, request_id: str, model: str, session: str) -> GenerateRequest:
    """The request for one token. All requests of a decision begin with what is judged, which the prefix cache holds after the first."""
    ids = tuple(each for label in ask.labels for each in label)
    text = f"Read this, then answer the question about it.\n\n<text>\n{judged}\n</text>\n\n{ask.text}"
    return GenerateRequest(
        id=request_id,
        model=model,
        messages=(Message(role="user", content=(TextPart(text=text),)),),
        sampling=SamplingParams(temperature=0.0, logprobs=0, logprob_token_ids=ids, logit_bias=dict.fromkeys(ids, _PUSH)),
        max_tokens=1,
        reasoning=ReasoningOptions(enabled=False),
        session=session,
    )


def weigh(ask: Ask, scores: Mapping[int, float]) -> list[float] | None:
    """The probability of each label, given the log-probabilities of tokens; None where there are none. They add up to 1."""
    sums = [[scores[each] for each in label if each in scores] for label in ask.labels]
    best = max((each for found in sums for each in found), default=-math.inf)
    if best == -math.inf:
        return None
    weights = [sum(math.exp(each - best) for each in found) for found in sums]
    return [weight / sum(weights) for weight in weights]


def combine(plan: Plan, weighed: Sequence[list[float] | None]) -> list[float] | None:
    """The probability of each option, given those of each of the plan's requests."""
    known = [each for each in weighed if each is not None]
    if len(known) < len(weighed):
        return None
    if not plan.groups:
        return known[0]
    return [group * inside for group, members in zip(known[0], known[1:], strict=True) for inside in members]


def certainty(probabilities: Sequence[float]) -> float:
    """1 where one option has it all, 0 where all have the same: 1 minus the entropy, as a share of the highest possible."""
    entropy = -sum(each * math.log(each) for each in probabilities if each > 0)
    return min(max(1.0 - entropy / math.log(len(probabilities)), 0.0), 1.0)


def _truth(statement: str, labels: Labels) -> Ask:
    if labels.truth is None:
        return _pick(f"Is this true?\n\n{statement}", ["Yes", "No"], labels)
    return Ask(text=f"Is this true?\n\n{statement}\n\nAnswer with Yes or No, and nothing else.", labels=labels.truth)


def _pick(instructions: str, options: Sequence[str], labels: Labels) -> Ask:
    letters = string.ascii_uppercase[: len(options)]
    lines = "\n".join(f"{letter}. {option}" for letter, option in zip(letters, options, strict=True))
    text = f"{instructions}\n\n{lines}\n\nAnswer with one letter, A to {letters[-1]}, and nothing else."
    return Ask(text=text, labels=labels.letters[: len(options)])
