import json
from datetime import datetime

import pytest

from pomona.core.errors import InvalidRequest
from pomona.core.messages import Message, TextPart
from pomona.text.sandbox import Limits
from pomona.text.templates import ChatTemplate, Conversation

USER = (Message(role="user", content=(TextPart(text="Hi <b> é"),)),)
NOW = datetime(2026, 11, 21, 9, 30)


def _render(source: str, **options: object) -> str:
    template = ChatTemplate({"default": source}, variables={}, limits=Limits(seconds=0.2, characters=100_000), now=lambda: NOW)
    return template.render(Conversation(messages=USER, options=options))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ messages[0].content | tojson }}", '"Hi <b> é"'),
        ("{{ x | tojson(ensure_ascii=True) }}", '{"a": ["\\u00e9", 1]}'),
        ("{{ x | tojson(indent=2) }}", json.dumps({"a": ["é", 1]}, indent=2, ensure_ascii=False)),
        ("{{ x.a | map('string') | tojson }}", '["é", "1"]'),
        ("{{ strftime_now('%d %b %Y') }}", "21 Nov 2026"),
        ("{% generation %}{{ x.a[1] }}{% endgeneration %}", "1"),
        ("{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "02"),
        ("{% for i in [1, [2, [3]]] recursive %}{{ loop(i) if i is iterable else i }}{{ loop.length }}{% endfor %}", "12223122"),
        ("{% set ns = namespace(a=1) %}{% set ns.a = ns.a + 1 %}{{ ns.a ~ '-' ~ missing ~ none }}", "2-None"),
        ("  {% if true %}\n  kept\n  {% endif %}\n", "  kept\n"),
        ("{{ dict(a=1).a }}{% set l = [] %}{% set _ = l.append(4) %}{{ l.pop(0) }}", "14"),
        ("{% macro greet(name) %}Hello {{ name }}{% endmacro %}{{ greet('you') }}", "Hello you"),
    ],
)
def test_templates_find_what_they_expect(source: str, expected: str) -> None:
    assert _render(source, x={"a": ["é", 1]}) == expected


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "longer than 0.2 s"),
        ("{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}", "longer than 0.2 s"),
        ("{% for a in [[1] * 999] * 999 recursive %}{{ loop([[1] * 999] * 999) }}{% endfor %}", "RecursionError|longer than"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{% for a in range(10 ** 9) %}{% endfor %}", "may not use"),
        ("{% for a in range(1000000000) %}{% endfor %}", "Range too big"),
        ("{{ 'a' * 1000000000 }}", "beyond 100,000 characters"),
        ("{{ 1000000000 * [1] }}", "beyond 100,000 characters"),
        ("{% set n = namespace(x='aaaa') %}{% for a in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}", "beyond 100,000 characters"),
        ("{% set n = namespace(x='aaaa') %}{% for a in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}", "beyond 100,000 characters"),
        ("{% for a in range(99999) %}{{ 'aaaaaaaaaaaaaaaa' }}{% endfor %}", "beyond 100,000 characters"),
        ("{{ messages.__class__.__mro__ }}{{ ''.__class__.x.y }}", "Error"),
        ("{{ namespace(__class__=1) }}", "underscored"),
        ("{% set n = namespace() %}{% set n.__class__ = 1 %}", "underscored"),
        ("{{ messages.clear() }}", "SecurityError"),
        ("{{ messages[0].nothing.further }}", "has no attribute"),
        ("{{ 1 + 'a' }}", "TypeError"),
        ("{{ raise_exception('Not like this.') }}", "refuses this conversation: Not like this"),
    ],
)
def test_templates_cannot_run_wild_and_failures_are_told(source: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        _render(source)
