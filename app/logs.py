"""Logs of the API and the worker: one JSON object on a line of standard error, or columns on a terminal.

What is logged by libraries through `logging` takes the same way.
"""

import logging
import sys
import unicodedata

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_CONTROL = frozenset({"Cc", "Cf", "Zl", "Zp"})
# uvicorn and Celery give these handlers of their own before anybody is asked.
_LIBRARIES = ("uvicorn", "uvicorn.error", "uvicorn.access", "celery", "kombu")


def configure_logging(level: int = logging.INFO) -> None:
    """Set up all logging of this process."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(sys.stderr.isatty())],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.handlers, library.propagate = [], True
    # These log addresses with their queries; the edge logs every request itself.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("httpx2").setLevel(max(level, logging.WARNING))


def _renderers(terminal: bool) -> list[Processor]:
    if terminal:
        return [escape_control_characters, structlog.dev.ConsoleRenderer()]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def escape_control_characters(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Keep a record on its line and a terminal unharmed, whatever a stranger's file or address is called."""
    return {name: _escaped(value) if isinstance(value, str) else value for name, value in event.items()}


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _CONTROL else char for char in text
    )
