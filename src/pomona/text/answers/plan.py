"""What is known of an answer before it comes: who wrote the chat template, what may be called, whether a thought has begun."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from pomona.core.errors import InvalidRequest
from pomona.core.generation import GenerateRequest
from pomona.core.messages import ToolDefinition
from pomona.text.answers.marks import TokenMarks, single_token, special_ids_in
from pomona.text.reasoning.marks import ThoughtMarks, find_thought_marks
from pomona.text.reasoning.options import BUDGET, SWITCHES, Thinking
from pomona.text.templates import ChatTemplate
from pomona.text.tokenizer import Tokenizer
from pomona.text.tools.catalog import find_dialect
from pomona.text.tools.dialect import Dialect


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What a chat template says about the model that it belongs to."""

    dialect: Dialect
    marks: ThoughtMarks | None
    variables: frozenset[str]
    """Options that the template knows."""
    marks_in_template: bool = True
    """The template speaks of thoughts; else only the tokenizer does, as it may for the sake of other models."""

    @property
    def switchable(self) -> bool:
        """The template can tell the model not to think."""
        return bool({*SWITCHES, BUDGET} & self.variables)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPlan:
    """How the answer to one request is read."""

    tools: tuple[ToolDefinition, ...] = ()
    """Those that may be called."""
    parallel: bool = True
    dialect: Dialect | None = None
    """None: the answer makes no calls."""
    marks: ThoughtMarks | None = None
    """None: the answer has no thought."""
    opened: bool = False
    """The prompt ends within a thought."""
    thinks_again: bool = False
    """Another thought may begin within the answer: the mark is a special token, so it cannot be meant as text."""
    call_mark: str = ""
    """Where it is one token, the mark of a call ends a thought too: some models forget to."""
    appended: str = ""
    """What was put behind the rendered prompt."""
    visible: frozenset[int] = frozenset()
    """Special tokens whose text counts."""
    stop_ids: frozenset[int] = frozenset()
    """Special tokens that end the answer behind a call."""

    @property
    def plain(self) -> bool:
        """The answer is text and nothing else."""
        return self.dialect is None and self.marks is None


PLAIN = AnswerPlan()


def family_of(template: ChatTemplate, tokenizer: Tokenizer, *, with_tools: bool) -> Family:
    """The family of the model with this template."""
    return _family(template.source(with_tools=with_tools), template.variables(with_tools=with_tools), tokenizer)


@lru_cache(maxsize=64)
def _family(source: str, variables: frozenset[str], tokenizer: Tokenizer) -> Family:
    marks = find_thought_marks(source, tokenizer)
    in_template = marks is not None and (marks.open.strip() in source or marks.close in source)
    return Family(dialect=find_dialect(source), marks=marks, variables=variables, marks_in_template=in_template)


def callable_tools(request: GenerateRequest) -> tuple[ToolDefinition, ...]:
    """The tools that may be called. Raises InvalidRequest where the choice and the tools do not go together."""
    choice = request.tool_choice
    unknown = [name for name in choice.names if all(tool.name != name for tool in request.tools)]
    if unknown:
        known = ", ".join(repr(tool.name) for tool in request.tools) or "none"
        raise InvalidRequest(f"tool_choice names {unknown[0]!r}, which is not among the tools: {known}.", param="tool_choice")
    if choice.mode == "required" and not request.tools:
        raise InvalidRequest("tool_choice asks for a call, but there are no tools. Give some, or leave it out.", param="tool_choice")
    if choice.mode == "none":
        return ()
    return tuple(tool for tool in request.tools if not choice.names or tool.name in choice.names)


def plan_answer(family: Family, tokenizer: Tokenizer, tools: tuple[ToolDefinition, ...], *, parallel: bool) -> AnswerPlan:
    """The plan for a model of this family, before the prompt is rendered."""
    dialect = family.dialect if tools or family.dialect.reads_thoughts else None
    marks = family.marks if family.marks and not family.marks.channels else None
    if dialect is not None and dialect.reads_thoughts:
        marks = None
    texts = [*(dialect.visible if dialect else ()), *((marks.open, marks.close, *(marks.wrap or ())) if marks else ())]
    return AnswerPlan(
        tools=tools,
        parallel=parallel,
        dialect=dialect,
        marks=marks,
        thinks_again=marks is not None and marks.open.strip() in tokenizer.special_tokens,
        call_mark=_call_mark(dialect, tokenizer, tools) if dialect and marks else "",
        visible=special_ids_in(tokenizer, texts),
        stop_ids=special_ids_in(tokenizer, dialect.stops if dialect and tools else ()),
    )


def _call_mark(dialect: Dialect, tokenizer: Tokenizer, tools: tuple[ToolDefinition, ...]) -> str:
    mark = dialect.trigger(tools[:1], TokenMarks(tokenizer), False).mark if dialect.trigger and tools else ""
    return mark if mark and single_token(tokenizer, mark) is not None else ""


def with_thought(plan: AnswerPlan, family: Family, prompt: str, thinking: Thinking, *, opens: Callable[[], bool]) -> AnswerPlan:
    """The plan once the prompt is known: a thought that it opens, or one that must be opened or closed behind it.

    `opens` is asked where the model may think or not: whether a thought is to be opened, since the form of the answer holds behind it.
    """
    marks = family.marks
    if marks is None:
        return plan
    opened = ends_in_thought(prompt, marks)
    if thinking.enabled is False:
        return replace(plan, appended=_without_thought(family, marks, prompt, opened=opened))
    if opened:
        return replace(plan, opened=True)
    if not has_no_thought(prompt, marks) and opens():
        return replace(plan, opened=True, appended=marks.beginning)
    return plan


def opens_thought(family: Family, thinking: Thinking, prompt: str, prompt_off: str, *, bound: bool) -> bool:
    """Whether the prompt should open a thought that the model may else open or not. `prompt_off`: as rendered without thinking.

    Where the answer has a form, a grammar holds behind the thought: it is opened if one is asked for, if the model always thinks, or
    if its template must forbid it to think. Else only where a thought is asked for and the template merely mentions it to the model.
    """
    if family.marks is None:
        return False
    must_forbid = has_no_thought(prompt_off, family.marks)
    if bound:
        return bool(thinking.enabled) or family.marks.channels or must_forbid
    return bool(thinking.enabled) and prompt != prompt_off and not must_forbid and not family.marks.channels


def ends_in_thought(prompt: str, marks: ThoughtMarks) -> bool:
    """The prompt ends with the mark that opens a thought."""
    return prompt.rstrip().endswith(marks.open.strip())


def has_no_thought(prompt: str, marks: ThoughtMarks) -> bool:
    """The prompt ends with the end of a thought: the template has written an empty one."""
    return prompt.rstrip().endswith(marks.close.strip())


def _without_thought(family: Family, marks: ThoughtMarks, prompt: str, *, opened: bool) -> str:
    if opened:
        return marks.ending.lstrip("\n") if prompt.endswith("\n") else marks.ending
    if has_no_thought(prompt, marks) or family.switchable or not family.marks_in_template:
        return ""
    return marks.nothing
