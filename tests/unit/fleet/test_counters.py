"""What engines count is what everybody is told."""

from dataclasses import fields

from pomona.core.status import EngineCounters
from pomona.engine.protocol import Stats


def test_counters_of_the_engine_cross_the_border_by_name() -> None:
    assert {field.name for field in fields(EngineCounters)} == set(Stats.__struct_fields__)
