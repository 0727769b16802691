"""What is declared once is there, and there once: else no server starts."""

from pomona.core.metrics import Metrics
from pomona.server.admin.gauges import EngineGauges, ModelGauges


def test_every_metric_that_is_set_is_declared_once() -> None:
    metrics = Metrics()
    EngineGauges(metrics)
    ModelGauges(metrics)
    names = [each.name for each in metrics.declarations]
    assert len(names) == len(set(names))
