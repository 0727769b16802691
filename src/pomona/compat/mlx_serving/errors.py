"""The errors of mlx-serving: seventeen codes, their JSON-RPC numbers, and which are worth another try."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from pomona.core.errors import InvalidRequest, NotReady, Overloaded, PomonaError, TimedOut, UnsupportedField
from pomona.core.events import RETRYABLE, RuntimeCode, runtime_code
from pomona.library.options import Issue, ValidationFailed, issue_of

NUMBERS: Mapping[RuntimeCode, int] = {
    "ParseError": -32700,
    "InvalidRequest": -32600,
    "MethodNotFound": -32601,
    "InvalidParams": -32602,
    "ValidationError": -32602,
    "InternalError": -32603,
    "ServerError": -32000,
    "ModelLoadError": -32001,
    "GenerationError": -32002,
    "TokenizerError": -32003,
    "GuidanceError": -32004,
    "ModelNotLoaded": -32005,
    "RuntimeError": -32099,
}
"""Codes without one never came over the wire: they are the client's own."""
FORMS = ("response_format", "schema", "structured")


class EngineClientError(Exception):
    """Whatever went wrong. `details` has the `issues` of a validation, each with path, message and code."""

    def __init__(self, code: RuntimeCode, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code: RuntimeCode = code
        self.message = message
        self.details = dict(details or {})

    @property
    def number(self) -> int | None:
        """Its JSON-RPC number; None for codes that have none."""
        return NUMBERS.get(self.code)

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later: by its code, and for lack of room or of a model that is still coming."""
        return self.code in RETRYABLE or isinstance(self.__cause__, Overloaded | NotReady)

    def to_object(self) -> dict[str, Any]:
        """As plain data."""
        return {"code": self.code, "message": self.message, "details": self.details}

    toObject = to_object


class TimeoutError(EngineClientError):
    """`timeout` and `duration` are in milliseconds."""

    def __init__(self, message: str, *, method: str, timeout: float, request_id: str | None = None, duration: float | None = None) -> None:
        super().__init__("Timeout", message, {"method": method, "timeout": timeout, "requestId": request_id, "duration": duration})
        self.method = method
        self.timeout = timeout
        self.requestId = self.request_id = request_id
        self.duration = duration


class CircuitBreakerOpenError(EngineClientError):
    """The circuit is open: nothing is tried before `retryAfterMs` have passed."""

    def __init__(self, circuit: str, state: str, retry_after_ms: float) -> None:
        details = {"circuit": circuit, "state": state, "retryAfterMs": retry_after_ms}
        super().__init__("ServerError", f"The circuit {circuit!r} is {state}. Try again in {retry_after_ms:.0f} ms.", details)
        self.circuit = circuit
        self.state = state
        self.retryAfterMs = self.retry_after_ms = retry_after_ms


@contextmanager
def translated(method: str, *, timeout_ms: float | None = None, request_id: str | None = None) -> Generator[None]:
    """Raise what Pomona raises as what mlx-serving raised."""
    try:
        yield
    except ValidationError as error:
        raise invalid([issue_of(problem) for problem in error.errors(include_url=False)]) from error
    except PomonaError as error:
        raise translate(error, method, timeout_ms=timeout_ms, request_id=request_id) from error


def translate(error: PomonaError, method: str, *, timeout_ms: float | None = None, request_id: str | None = None) -> EngineClientError:
    """One error; its cause is to be set by who raises it."""
    if isinstance(error, TimedOut) and timeout_ms is not None:
        name = f" (id: {request_id})" if request_id else ""
        message = f"Request timed out after {timeout_ms:g}ms: {method}{name}"
        return TimeoutError(message, method=method, timeout=timeout_ms, request_id=request_id, duration=timeout_ms)
    if isinstance(error, ValidationFailed):
        return invalid(error.issues)
    if isinstance(error, InvalidRequest) and (error.param or "").startswith(FORMS):
        return EngineClientError("GuidanceError", error.message, _about(error))
    if isinstance(error, InvalidRequest) and not isinstance(error, UnsupportedField) and method == "tokenize":
        return EngineClientError("TokenizerError", error.message, _about(error))
    return EngineClientError(runtime_code(error), error.message, _about(error))


def invalid(issues: Sequence[Issue]) -> EngineClientError:
    """The error of parameters that are wrong; it names the first and lists all."""
    first = issues[0]
    listed = [{"path": issue.path, "message": issue.message, "code": issue.code} for issue in issues]
    message = f"Validation error on field '{first.path or 'root'}': {first.message}"
    return EngineClientError("ValidationError", message, {"field": first.path or "root", "issues": listed})


def _about(error: PomonaError) -> dict[str, Any]:
    return {"pomonaCode": error.code, **({"field": error.param} if error.param else {})}
