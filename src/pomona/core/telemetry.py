"""Logging: structlog with request id and model from contextvars; lines for people on a terminal, JSON otherwise."""

import logging
import sys
from typing import Literal

import structlog


def configure_logging(level: str, style: Literal["auto", "human", "json"]) -> None:
    """Send all logs, ours and the libraries', to standard error in one style."""
    human = style == "human" or (style == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if human else "iso", utc=not human),
    ]
    # Locals would bring whole prompts into the log, and take seconds to draw.
    tracebacks = structlog.dev.RichTracebackFormatter(show_locals=False)
    console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=tracebacks)
    renderer = console if human else structlog.processors.JSONRenderer()
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.format_exc_info, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger with key-value events: `log.info("engine_ready", model=name)`."""
    return structlog.stdlib.get_logger(name)
