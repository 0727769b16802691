"""The jinja environment of chat templates, byte for byte that of Hugging Face transformers, with limits.

A template comes from strangers together with the weights. It gets no attributes of Python objects (jinja's sandbox), and its loops,
macros, growing strings and output are bounded. What the sandbox cannot bound, such as one huge `replace`, stays possible.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import cast

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

FAILURES = (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)
"""What rendering a template may raise: templates run Python operators on whatever they find."""
STEPS_PER_CLOCK_READING = 256


class TemplateRefusal(jinja2.TemplateError):
    """The template called `raise_exception`: the message is its author's."""


class LimitReached(jinja2.TemplateError):
    """The template ran too long or grew too much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one rendering."""

    seconds: float = 5.0
    characters: int = 2**26


def compile_template(source: str) -> jinja2.Template:
    """Compile once per source text. Raises jinja2.TemplateSyntaxError."""
    return _compile(source)


def free_variables(source: str) -> frozenset[str]:
    """Names that the template reads but does not always set itself."""
    return frozenset(meta.find_undeclared_variables(_environment().parse(source)))


def render(template: jinja2.Template, variables: Mapping[str, object], *, limits: Limits, now: Callable[[], datetime]) -> str:
    """Render within `limits`. `now` is the local time that `strftime_now` formats. Raises one of FAILURES."""

    def strftime_now(form: str) -> str:
        return now().strftime(form)

    token = _METER.set(_Meter(limits))
    try:
        return _collect(template.generate({**variables, "strftime_now": strftime_now}), limits)
    finally:
        _METER.reset(token)


def _collect(chunks: Iterable[str], limits: Limits) -> str:
    collected: list[str] = []
    room = limits.characters
    for chunk in chunks:
        room -= len(chunk)
        _check_size(room >= 0, limits)
        collected.append(chunk)
    return "".join(collected)


def _check_size(fits: bool, limits: Limits) -> None:
    if not fits:
        raise LimitReached(f"a text grew beyond {limits.characters:,} characters")


class _Meter:
    """Counts the loop turns and macro calls of one rendering and reads the clock now and then."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._deadline = time.monotonic() + limits.seconds
        self._steps = 0

    def step(self) -> None:
        self._steps += 1
        if self._steps % STEPS_PER_CLOCK_READING == 0 and time.monotonic() > self._deadline:
            raise LimitReached(f"rendering took longer than {self.limits.seconds:g} s")


_METER: ContextVar[_Meter] = ContextVar("meter")


class _Generation(Extension):
    """`{% generation %}`: marks what the model says, for training. Here it only renders its body."""

    def __init__(self, environment: jinja2.Environment) -> None:
        super().__init__(environment)
        self.tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_render_body"), [], [], body).set_lineno(line)

    def _render_body(self, caller: Macro) -> str:
        return caller()


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, which also watches the operators that make long texts out of short ones."""

    intercepted_binops = frozenset({"+", "*", "**"})

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        if operator == "**":
            raise jinja2.TemplateError("chat templates may not use '**'")
        limits = _METER.get().limits
        if operator == "*":
            _check_size(_length(left) * _count(right) <= limits.characters and _length(right) * _count(left) <= limits.characters, limits)
        else:
            _check_size(_length(left) + _length(right) <= limits.characters, limits)
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:
        """Kimi-K2's template queues call ids in a list of its own. What we hand to templates is made afresh for each rendering."""
        return (isinstance(obj, list) and attr in {"append", "pop"}) or super().is_safe_attribute(obj, attr, value)


def _length(value: object) -> int:
    return len(cast("str | list[object]", value)) if isinstance(value, str | list | tuple) else 0


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _meter(tree: nodes.Template, environment: jinja2.Environment) -> None:
    """Rewrite a parsed template: every loop turn and macro call takes a step, `~` checks the length of what it makes."""
    for node in list(tree.find_all((nodes.For, nodes.Macro))):
        step = _filter(nodes.Const(None), "metered_step", node)
        node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))
    for node in list(tree.find_all(nodes.Concat)):
        node.nodes = [_filter(nodes.List(node.nodes), "metered_concat", node)]
    tree.set_environment(environment)


def _filter(value: nodes.Expr, name: str, place: nodes.Node) -> nodes.Filter:
    return nodes.Filter(value, name, [], [], None, None, lineno=place.lineno)


@jinja2.pass_context  # a filter that takes the context is not folded into a constant
def _step(_: Context, value: object) -> object:
    _METER.get().step()
    return value


@jinja2.pass_context
def _concat(_: Context, values: list[object]) -> str:
    texts = [str(value) for value in values]
    limits = _METER.get().limits
    _check_size(sum(map(len, texts)) <= limits.characters, limits)
    return "".join(texts)


def _to_json(
    value: object, ensure_ascii: bool = False, indent: int | None = None, separators: tuple[str, str] | None = None, sort_keys: bool = False
) -> str:
    """Jinja's own `tojson` escapes HTML. What `map` and `select` give counts as a list."""
    return json.dumps(
        list(cast("Iterator[object]", value)) if isinstance(value, Iterator) else value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: object) -> None:
    raise TemplateRefusal(str(message))


class _Dict:
    """`dict` without the attributes of the Python class."""

    def __call__(self, *args: Iterable[tuple[str, object]], **kwargs: object) -> dict[str, object]:
        return dict(*args, **kwargs)


class _Namespace(Namespace):
    """Jinja's namespace without underscored names, through which templates have left the sandbox."""

    def __init__(*args: object, **kwargs: object) -> None:
        self, *rest = cast("tuple[_Namespace, *tuple[Iterable[tuple[str, object]], ...]]", args)
        values = dict(*rest, **kwargs)
        for name in values:
            _check_name(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: object) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: str) -> None:
    if name.startswith("_"):
        raise jinja2.TemplateError(f"a namespace may not hold the underscored name {name!r}")


@cache
def _environment() -> _Environment:
    environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    filters, variables = cast("dict[str, object]", environment.filters), cast("dict[str, object]", environment.globals)
    filters.update(tojson=_to_json, metered_step=_step, metered_concat=_concat)
    variables.update(raise_exception=_raise_exception, dict=_Dict(), namespace=_Namespace)
    del variables["lipsum"]
    return environment


@lru_cache(maxsize=64)
def _compile(source: str) -> jinja2.Template:
    environment = _environment()
    tree = environment.parse(source)
    _meter(tree, environment)
    code = environment.compile(tree)
    return jinja2.Template.from_code(environment, code, environment.make_globals(None))
