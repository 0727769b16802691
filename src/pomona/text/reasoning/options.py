"""What a request says about thinking, as variables of the chat template and as a budget."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from pomona.core.generation import ReasoningLimit, ReasoningOptions
from pomona.text.reasoning.marks import ThoughtMarks
from pomona.text.tokenizer import Tokenizer

EFFORT_TOKENS: Mapping[str, int] = {"minimal": 512, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768}
"""Tokens of thought for models whose template knows no efforts; `max` has no bound."""
TEMPLATE_EFFORTS: Mapping[str, str] = {"none": "low", "minimal": "low", "xhigh": "high", "max": "high"}
"""Efforts that no template knows, as the nearest one that they know: low, medium, high."""
SWITCHES = ("enable_thinking", "thinking", "force_thinking")
EFFORT, BUDGET = "reasoning_effort", "thinking_budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """What is wanted. `enabled` None: as the template does."""

    enabled: bool | None
    budget_tokens: int | None
    effort: str | None

    @classmethod
    def of(cls, options: ReasoningOptions) -> "Thinking":
        """An effort or a budget means that the model should think, `none` and 0 that it should not."""
        enabled = options.enabled
        if enabled is None and (options.effort is not None or options.budget_tokens is not None):
            enabled = True
        if options.effort == "none" or options.budget_tokens == 0:
            enabled = False
        return cls(enabled=enabled, budget_tokens=options.budget_tokens or None, effort=options.effort)

    def variables(self, known: Set[str]) -> dict[str, object]:
        """Variables for a template that reads those `known`."""
        given: dict[str, object] = {}
        if self.enabled is not None:
            given |= dict.fromkeys(SWITCHES, self.enabled)
        effort = self.effort or ("none" if self.enabled is False else None)
        if effort is not None:
            given[EFFORT] = TEMPLATE_EFFORTS.get(effort, effort)
        budget = 0 if self.enabled is False else self._budget()
        if budget is not None:
            given[BUDGET] = budget
        return {name: value for name, value in given.items() if name in known}

    def limit_tokens(self, known: Set[str]) -> int | None:
        """Most tokens of thought: the budget; else, where the template knows neither efforts nor budgets, that of the effort."""
        if self.enabled is False:
            return None
        return self.budget_tokens if self.budget_tokens or {EFFORT, BUDGET} & known else self._budget()

    def _budget(self) -> int | None:
        return self.budget_tokens or EFFORT_TOKENS.get(self.effort or "")


OFF = Thinking(enabled=False, budget_tokens=None, effort=None)


def reasoning_limit(tokens: int, marks: ThoughtMarks, tokenizer: Tokenizer, *, opened: bool, bound: bool) -> ReasoningLimit:
    """A limit of this many tokens for a model with these marks. Where the answer behind the thought is `bound` by a grammar, the
    grammar holds from the end of the thought on, so nothing more than that is forced.
    """

    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(text, add_special_tokens=False))

    return ReasoningLimit(
        budget_tokens=tokens,
        open_ids=() if opened else ids(marks.open),
        close_ids=ids(marks.close),
        forced_ids=ids(f"\n{marks.close}" if bound and not marks.forced else marks.close if bound else marks.ending),
    )
