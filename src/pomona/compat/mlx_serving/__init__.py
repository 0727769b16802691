"""The engine of mlx-serving (kr-serve-mlx), by its names: `from pomona.compat.mlx_serving import create_engine`.

Owns: its calls in camelCase and snake_case, its parameters, chunks, events and errors. Does not own: any behaviour (`pomona.library`).
Start reading at `engine.py`; docs/howto/migrate.md says what differs.
"""

from pomona.compat.mlx_serving.engine import Engine, create_engine, createEngine, with_engine, withEngine
from pomona.compat.mlx_serving.errors import CircuitBreakerOpenError, EngineClientError, TimeoutError
from pomona.compat.mlx_serving.resilience import CircuitBreaker, retry_with_backoff, retryWithBackoff
from pomona.compat.mlx_serving.simple import MLXEngine, create_mlx_engine, createMLXEngine

__all__ = [
    "CircuitBreaker",
    "CircuitBreakerOpenError",
    "Engine",
    "EngineClientError",
    "MLXEngine",
    "TimeoutError",
    "createEngine",
    "createMLXEngine",
    "create_engine",
    "create_mlx_engine",
    "retryWithBackoff",
    "retry_with_backoff",
    "withEngine",
    "with_engine",
]
