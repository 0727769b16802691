"""The grammar that binds an answer: its form, its calls, and where a thought comes before them."""

import json
import re
from collections.abc import Mapping
from functools import lru_cache

from llguidance import LLMatcher

from pomona.core.errors import UnsupportedField
from pomona.core.generation import GenerateRequest, Grammar
from pomona.text.answers.marks import TokenMarks, single_token
from pomona.text.answers.plan import AnswerPlan, Family
from pomona.text.grammar.formats import grammar_of
from pomona.text.reasoning.marks import ThoughtMarks
from pomona.text.tokenizer import Tokenizer
from pomona.text.tools.dialect import Dialect, Trigger

NOT_A_CALL = "FREE: /([^{\\s](?s:.*))?/"
"""For models whose calls are an object at the beginning of the answer: any answer that begins otherwise."""


def is_bound(request: GenerateRequest, plan: AnswerPlan) -> bool:
    """The answer has a form from its first token on, so a thought must be over before it."""
    return request.output_format is not None or (request.tool_choice.mode == "required" and bool(plan.tools))


def grammar_for(
    request: GenerateRequest, plan: AnswerPlan, family: Family | None, tokenizer: Tokenizer, *, constrain: bool
) -> Grammar | None:
    """The grammar of the answer to `request`; `constrain` binds calls that the model is free to make.

    Raises InvalidRequest or UnsupportedField where the form cannot be enforced.
    """
    if family is None:
        return None if request.output_format is None else Grammar(source=grammar_of(request.output_format, closed=True))
    if is_bound(request, plan):
        return _behind_thought(_bound(request, plan, family, tokenizer), plan, family.marks, tokenizer)
    if plan.tools and (constrain or any(tool.strict for tool in plan.tools)):
        return _free(plan, family.dialect, tokenizer)
    return None


def _bound(request: GenerateRequest, plan: AnswerPlan, family: Family, tokenizer: Tokenizer) -> dict[str, str]:
    """Named grammars, any of which the answer may follow."""
    answers: dict[str, str] = {}
    if plan.tools:
        answers["calls"] = _checked(family.dialect.calls(plan.tools, TokenMarks(tokenizer), plan.parallel))
    if request.output_format is not None and request.tool_choice.mode != "required":
        before = family.marks.answer if family.marks else ""
        source = grammar_of(request.output_format, closed=True)
        answers["format"] = source if not before else joined(f"start: {TokenMarks(tokenizer)(before)} @text", {"text": source})
    return answers


def _behind_thought(answers: Mapping[str, str], plan: AnswerPlan, marks: ThoughtMarks | None, tokenizer: Tokenizer) -> Grammar:
    start = " | ".join(f"@{name}" for name in answers)
    if marks is None or not plan.opened:
        return Grammar(source=joined(f"start: {start}", answers))
    spell = TokenMarks(tokenizer)
    behind = f"{spell(marks.behind)} ({start})" if marks.behind else f"({start})"
    close = single_token(tokenizer, marks.close)
    if close is not None:
        return Grammar(source=joined(f"start: {behind}", answers), after=(close,))
    thought = f"thought[suffix={json.dumps(marks.close)}]: /(?s:.*)/"
    return Grammar(source=joined(f"start: thought {behind}\n{thought}", answers))


def _free(plan: AnswerPlan, dialect: Dialect, tokenizer: Tokenizer) -> Grammar | None:
    """Calls that the model may make or not. Without a mark that is one token they cannot be told from text in time."""
    spell = TokenMarks(tokenizer)
    strict = any(tool.strict for tool in plan.tools)
    trigger = dialect.trigger(plan.tools, spell, plan.parallel) if dialect.trigger else None
    mark = single_token(tokenizer, trigger.mark) if trigger else None
    if trigger is not None and mark is not None:
        usable = strict or problem_of(trigger.rules) is None
        return Grammar(source=_checked(trigger.rules), after=(mark,), repeats=True) if usable else None
    if strict and dialect.bare:
        calls = _checked(dialect.calls(plan.tools, spell, plan.parallel))
        return Grammar(source=joined(f"start: @calls | FREE\n{_free_text(trigger)}", {"calls": calls}))
    return None


def _free_text(trigger: Trigger | None) -> str:
    """An answer without calls. A mark that is several tokens may not occur in it, since nothing would hold what follows."""
    return NOT_A_CALL if trigger is None else f"{NOT_A_CALL} & ~/(?s:.*){re.escape(trigger.mark)}(?s:.*)/"


def joined(rules: str, named: Mapping[str, str]) -> str:
    """One source: `rules` that refer to other grammars as `@name`. A grammar that is all there is stays as it is."""
    if len(named) == 1 and rules in (f"start: @{next(iter(named))}", f"start: (@{next(iter(named))})"):
        return next(iter(named.values()))
    grammars: list[object] = [{"lark_grammar": rules}]
    for name, source in named.items():
        parts = json.loads(source)["grammars"] if source.startswith("{") else [{"lark_grammar": source}]
        grammars += [{**parts[0], "name": name}, *parts[1:]]
    return json.dumps({"grammars": grammars}, ensure_ascii=False)


def _checked(source: str) -> str:
    problem = problem_of(source)
    if problem is not None:
        raise UnsupportedField(f"The tools' parameters cannot be enforced: {problem}. Simplify their schemas.", param="tools")
    return source


@lru_cache(maxsize=256)
def problem_of(source: str) -> str | None:
    """Why llguidance refuses a grammar, in its first line; None where it does not."""
    failed, notes = LLMatcher.validate_grammar_with_warnings(source)
    return notes[0].split("\n", 1)[0][:300] if failed and notes else None
