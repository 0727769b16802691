"""Whether one model can draft for another, and what may come of it. Reads files only: no MLX.

The expected speed-up is that of Leviathan et al. (arXiv 2211.17192, theorem 3.8): with guesses right with chance a, k of them a time,
and passes of the draft model that cost c times one of the large model, (1 - a^(k+1)) / ((1 - a) (k c + 1)) times as many tokens a second.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pomona.core.errors import ModelUnusable
from pomona.models.tasks import task_of
from pomona.models.validation import FolderFacts, inspect_folder, model_source

ASSUMED_ACCEPTANCE = 0.7
"""Of guesses, where none was measured. Published figures for drafts of the same family go from 0.6 to 0.9."""
WORTH_IT = 1.2
_MOST_GUESSES = 16
_OTHER_TOKENIZERS = ("tokenizer.model", "tekken.json", "tiktoken.model", "vocab.json", "vocab.txt", "spiece.model")

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftParty:
    """One of the two models. `vocab_size` and `parameter_count` are None where its files could not be read."""

    id: str
    vocab_size: int | None = None
    parameter_count: int | None = None
    architecture: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceEstimate:
    """What to expect of a lone row on a machine that decodes as fast as it reads weights.

    `size_ratio` is the draft model's bytes over the large model's; `tokens` the number of guesses at which the speed-up is greatest.
    """

    expected_speedup: float
    size_ratio: float
    tokens: int
    acceptance: float
    recommendation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftReport:
    """What `check_draft` found. `estimate` is None where the models do not go together."""

    compatible: bool
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    primary: DraftParty
    draft: DraftParty
    estimate: PerformanceEstimate | None

    def document(self) -> dict[str, object]:
        """As plain data, in the names and the nesting of the engine that Pomona replaces."""
        estimate = self.estimate
        performance = estimate and {
            "expectedSpeedup": round(estimate.expected_speedup, 2),
            "sizeRatio": round(estimate.size_ratio, 4),
            "recommendation": estimate.recommendation,
            "draftTokens": estimate.tokens,
            "acceptance": estimate.acceptance,
        }
        return {
            "compatible": self.compatible,
            "errors": list(self.errors),
            "warnings": list(self.warnings),
            "details": {
                "primaryModel": _party_document(self.primary),
                "draftModel": _party_document(self.draft),
                "performanceEstimate": performance,
            },
        }


def check_draft(primary: Path, draft: Path, *, names: tuple[str, str] | None = None, acceptance: float | None = None) -> DraftReport:
    """Whether the model in folder `draft` can guess for the one in `primary`. `names` are those to show, `acceptance` is the measured
    share of right guesses. Never raises for what the folders hold: that is what the report says.
    """
    shown = names or (primary.name, draft.name)
    errors: list[str] = []
    facts = [_facts(folder, errors) for folder in (primary, draft)]
    parties = [_party(name, each) for name, each in zip(shown, facts, strict=True)]
    large, small = facts
    if large is None or small is None:
        return _report(errors, [], parties, None)
    for name, each in zip(shown, (large, small), strict=True):
        errors += _unfit(name, each)
    warnings = _compare_tokenizers(large.path, small.path, errors) + _compare_sizes(large, small)
    return _report(errors, warnings, parties, None if errors else estimate(large.weight_bytes, small.weight_bytes, acceptance))


def estimate(primary_bytes: int, draft_bytes: int, acceptance: float | None = None) -> PerformanceEstimate:
    """The best number of guesses and what it brings, from the sizes of both models."""
    chance, cost = ASSUMED_ACCEPTANCE if acceptance is None else acceptance, draft_bytes / max(1, primary_bytes)
    best = max(range(1, _MOST_GUESSES + 1), key=lambda count: speedup(chance, count, cost))
    expected = speedup(chance, best, cost)
    if expected >= WORTH_IT:
        advice = f"Use it, with engine.speculation_tokens of about {best}."
    elif expected > 1:
        advice = "It may bring a little; measure it. A smaller draft model would bring more."
    else:
        advice = "Do not use it: it costs more than it spares. Choose a smaller draft model."
    return PerformanceEstimate(expected_speedup=expected, size_ratio=cost, tokens=best, acceptance=chance, recommendation=advice)


def speedup(acceptance: float, count: int, cost: float) -> float:
    """Tokens a second with `count` guesses that are right with chance `acceptance`, over those without."""
    made = count + 1 if acceptance >= 1 else (1 - acceptance ** (count + 1)) / (1 - acceptance)
    return made / (count * cost + 1)


def _facts(folder: Path, errors: list[str]) -> FolderFacts | None:
    try:
        return inspect_folder(folder)
    except ModelUnusable as error:
        errors.append(error.message)
        return None


def _party(name: str, facts: FolderFacts | None) -> DraftParty:
    if facts is None:
        return DraftParty(id=name)
    return DraftParty(id=name, vocab_size=facts.vocabulary, parameter_count=facts.parameters, architecture=facts.architecture)


def _party_document(party: DraftParty) -> dict[str, object]:
    return {
        "id": party.id,
        "vocabSize": party.vocab_size,
        "parameterCount": party.parameter_count,
        "architecture": party.architecture,
    }


def _report(errors: list[str], warnings: list[str], parties: list[DraftParty], found: PerformanceEstimate | None) -> DraftReport:
    primary, draft = parties
    return DraftReport(compatible=not errors, errors=tuple(errors), warnings=tuple(warnings), primary=primary, draft=draft, estimate=found)


def _unfit(name: str, facts: FolderFacts) -> list[str]:
    """Why a model can neither draft nor be drafted for."""
    if task_of(facts.path, facts.config) != "generate":
        return [f"{name!r} does not write text."]
    if re.search(r"\b(ArraysCache|MambaCache)\b", model_source(facts.model_type)):
        return [f"{name!r} ({facts.model_type}) keeps a recurrent state, which cannot be taken back when a guess was wrong."]
    return []


def _compare_sizes(large: FolderFacts, small: FolderFacts) -> list[str]:
    found: list[str] = []
    if small.weight_bytes * 2 > large.weight_bytes:
        share = small.weight_bytes / max(1, large.weight_bytes)
        found.append(f"The draft model has {share:.0%} of the large model's bytes; drafts pay when they are far smaller, 10% or less.")
    if large.max_context and small.max_context and small.max_context < large.max_context:
        found.append(
            f"The draft model was made for {small.max_context} tokens, the large one for {large.max_context}: behind that it guesses badly."
        )
    if large.vocabulary != small.vocabulary:
        found.append(f"The models have room for {large.vocabulary} and {small.vocabulary} tokens. Unused room does no harm.")
    return found


def _compare_tokenizers(large: Path, small: Path, errors: list[str]) -> list[str]:
    """Adds to `errors` where an id means different texts; the warnings."""
    one, other = _tokenizer(large), _tokenizer(small)
    if one is None or other is None:
        if not _same_files(large, small):
            errors.append("The tokenizers cannot be compared: both models need a tokenizer.json, or the same tokenizer files byte by byte.")
        return []
    mine, its = _vocabulary(one), _vocabulary(other)
    different = sorted(token for token in mine.keys() & its.keys() if mine[token] != its[token])
    if different:
        first = different[0]
        errors.append(
            f"The vocabularies differ: {len(different)} ids mean other texts, the first of them {first}, "
            f"which is {mine[first]!r} for the large model and {its[first]!r} for the draft model."
        )
        return []
    return _smaller_differences(one, other, mine, its, errors)


def _smaller_differences(one: Json, other: Json, mine: Mapping[int, str], its: Mapping[int, str], errors: list[str]) -> list[str]:
    missing, extra = len(mine.keys() - its.keys()), len(its.keys() - mine.keys())
    if missing > len(mine) // 100:
        errors.append(f"The draft model lacks {missing} of the large model's {len(mine)} tokens.")
        return []
    found: list[str] = []
    if missing or extra:
        found.append(f"The draft model lacks {missing} tokens and has {extra} of its own: rows that use them are not drafted.")
    if _merges(one) != _merges(other):
        found.append("The tokenizers split text in different ways, although their tokens are the same: guesses may be worse.")
    return found


def _tokenizer(folder: Path) -> Json | None:
    try:
        read = cast("object", json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    return cast("Json", read) if isinstance(read, dict) and isinstance(cast("Json", read).get("model"), dict) else None


def _vocabulary(tokenizer: Json) -> dict[int, str]:
    """Id to text, added tokens included."""
    vocabulary = cast("Json", tokenizer["model"]).get("vocab")
    found: dict[int, str] = {}
    if isinstance(vocabulary, dict):
        found = {number: text for text, number in cast("dict[str, int]", vocabulary).items()}
    elif isinstance(vocabulary, list):  # Unigram: (text, score) in the order of the ids
        found = {number: str(entry[0]) for number, entry in enumerate(cast("list[list[object]]", vocabulary))}
    added = tokenizer.get("added_tokens")
    for token in cast("list[Json]", added) if isinstance(added, list) else ():
        found[cast("int", token.get("id"))] = str(token.get("content"))
    return found


def _merges(tokenizer: Json) -> list[str]:
    merges = cast("Json", tokenizer["model"]).get("merges")
    pairs = cast("list[str | list[str]]", merges) if isinstance(merges, list) else []
    return [pair if isinstance(pair, str) else " ".join(pair) for pair in pairs]


def _same_files(one: Path, other: Path) -> bool:
    shared = [name for name in _OTHER_TOKENIZERS if (one / name).is_file() and (other / name).is_file()]
    return bool(shared) and all((one / name).read_bytes() == (other / name).read_bytes() for name in shared)
