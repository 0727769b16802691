"""What a pass that ran has made, read from the device."""

from dataclasses import dataclass
from itertools import islice
from typing import cast

from pomona.core.generation import TokenLogprobs
from pomona.engine.passes.work import Pass
from pomona.engine.scores import Scores, read_scores
from pomona.engine.sequence import Sequence


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """What was chosen for one row: its next token and, where `guesses` were checked, the one behind each of them."""

    row: Sequence
    tokens: list[int]
    guesses: list[int] | None
    scores: list[TokenLogprobs]
    """Of `tokens`, or none, if the row did not ask."""


def read(work: Pass) -> list[Choice]:
    """By row; none after a pass over prompts, whose scores the row itself gets."""
    if work.scores is not None:
        _read_prompt_scores(work, work.scores)
    if work.sampled is None:
        return []
    tokens = iter(cast("list[int]", work.sampled.tokens.tolist()))
    logprobs, line = _logprobs(work), 0
    choices: list[Choice] = []
    for place, row in enumerate(work.rows):
        guesses = work.guesses[place] if work.guesses else None
        chosen = list(islice(tokens, 1 + len(guesses or ())))
        scores = [score for each in range(line, line + len(chosen)) if (score := logprobs.get(each))]
        line += len(chosen)
        choices.append(Choice(row=row, tokens=chosen, guesses=guesses, scores=scores))
    return choices


def _read_prompt_scores(work: Pass, scores: Scores) -> None:
    row, start = work.rows[0], work.scores_start
    count = scores.chosen.shape[0]
    row.scores[start : start + count] = read_scores(scores, [(row.prompt.prompt_logprobs or 0, ())] * count)


def _logprobs(work: Pass) -> dict[int, TokenLogprobs]:
    """By line of the pass, for the rows that asked."""
    if work.sampled is None or work.sampled.scores is None:
        return {}
    lines = work.sampled.scored_rows
    of_line = work.lines
    asking = [of_line[line].prompt.sampling for line in lines]
    read = read_scores(work.sampled.scores, [(params.logprobs or 0, params.logprob_token_ids) for params in asking])
    return dict(zip(lines, read, strict=True))
