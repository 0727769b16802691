"""Every error that Pomona raises on purpose.

PomonaError
├── InvalidRequest          the caller can mend it: a field, a type, a value
│   ├── ContextOverflow     prompt and answer do not fit into the model's context
│   ├── PictureRefused      a picture that cannot be read, is too large, or lies where it must not be fetched from
│   └── UnsupportedField    a field that this model or server cannot honour
├── ModelNotFound           no model of that name
├── ModelUnusable           a model is there but cannot be loaded: names the file and the reason
│   └── AdapterUnusable     an adapter is broken or does not fit its model
├── DoesNotFit              a model needs more memory or disk than this machine can give
├── HubFailed               the model hub, or the way to it, failed
├── ConfigurationError      a setting is wrong: names where it was set
├── Unauthenticated         no API key, or one that is not known
├── Forbidden               a known key that may not do this
├── NotFound                no stored object of that id
├── Conflict                the request does not go with the state that something is in
├── Overloaded              no room now; try again
│   ├── RateLimited         this caller has used up what it may; try again
│   └── EngineSuspended     a model's engine died again and again; try again after a pause
├── EngineFailed            the engine process died or refused while answering
├── Quarantined             this very request killed engines; it is refused for a while
├── NotReady                the model is still loading
├── TimedOut                the answer took longer than allowed
└── Cancelled               the work was stopped on purpose

No HTTP status and no exit code in here: each surface has one table of its own (`server/errors.py`, `cli/errors.py`).
A message says what was wrong with the value's repr, what is allowed, and what to do.
"""


class PomonaError(Exception):
    """Base of all errors that carry a message for a person. `code` is stable and machine-readable."""

    code = "pomona_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidRequest(PomonaError):
    """The request cannot be served as it stands; the caller can mend it."""

    code = "invalid_request"


class ContextOverflow(InvalidRequest):
    """Prompt, or prompt and answer, exceed the context: `tokens` (about) of `limit`, 0 where not known."""

    code = "context_length_exceeded"

    def __init__(self, message: str, *, param: str | None = None, tokens: int = 0, limit: int = 0) -> None:
        super().__init__(message, param=param)
        self.tokens = tokens
        self.limit = limit


class PictureRefused(InvalidRequest):
    """A picture cannot be read, is larger than allowed, or lies where it must not be fetched from."""

    code = "invalid_image"


class UnsupportedField(InvalidRequest):
    """A field is known but cannot be honoured here."""

    code = "unsupported_parameter"


class ModelNotFound(PomonaError):
    """No model answers to that name."""

    code = "model_not_found"


class ModelUnusable(PomonaError):
    """A model folder is broken or of an architecture that cannot be loaded."""

    code = "model_unusable"


class AdapterUnusable(ModelUnusable):
    """An adapter folder is broken, or made for another model."""

    code = "adapter_unusable"


class DoesNotFit(PomonaError):
    """Memory or disk is too small, whatever else is given up: `required_bytes` of `available_bytes`."""

    code = "does_not_fit"

    def __init__(self, message: str, *, required_bytes: int = 0, available_bytes: int = 0) -> None:
        super().__init__(message)
        self.required_bytes = required_bytes
        self.available_bytes = available_bytes


class HubFailed(PomonaError):
    """The model hub cannot be reached, answers nonsense, or refuses for now."""

    code = "hub_failed"


class ConfigurationError(PomonaError):
    """A setting is wrong."""

    code = "configuration_error"


class Unauthenticated(PomonaError):
    """Who asks is not known."""

    code = "invalid_api_key"


class Forbidden(PomonaError):
    """Who asks is known and may not do this."""

    code = "forbidden"


class NotFound(PomonaError):
    """Nothing is kept under that id."""

    code = "not_found"


class Conflict(PomonaError):
    """What is asked for does not go with the present state."""

    code = "conflict"


class Overloaded(PomonaError):
    """The queue is full. `retry_after` is in seconds."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimited(Overloaded):
    """The caller has used up its requests, tokens or places. `retry_after` is in seconds."""

    code = "rate_limit_exceeded"


class EngineSuspended(Overloaded):
    """A model's engine died again and again, and is not started before a pause is over. `retry_after` is in seconds."""

    code = "engine_suspended"


class EngineFailed(PomonaError):
    """The engine process died, hung, or failed while it worked for this request."""

    code = "engine_failed"


class Quarantined(PomonaError):
    """The engine died twice in a row of this very request. Equal ones are refused for a while: sending it again does not help."""

    code = "request_quarantined"


class NotReady(PomonaError):
    """The model is loading."""

    code = "not_ready"


class TimedOut(PomonaError):
    """The answer took longer than `limits.request_seconds` allows."""

    code = "timed_out"


class Cancelled(PomonaError):
    """The work was stopped on purpose, for example by a shutdown."""

    code = "cancelled"


def error_of(code: str, message: str) -> PomonaError:
    """The error whose class has `code`, as it crossed a process border; a plain PomonaError where no class has it."""
    return _CLASSES.get(code, PomonaError)(message)


def _family(root: type[PomonaError]) -> list[type[PomonaError]]:
    return [root, *(each for child in root.__subclasses__() for each in _family(child))]


_CLASSES = {each.code: each for each in _family(PomonaError)}
CODES = frozenset(_CLASSES)
"""Of all errors."""
