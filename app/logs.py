"""Logs of the API and the worker: one JSON object per line of standard error, or columns on a terminal.

Records of libraries (`logging`), warnings and uncaught exceptions have the same form; Python itself would write
exceptions on several lines.
"""

import logging
import sys
import threading
import unicodedata
from types import TracebackType

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_log = structlog.get_logger()
_CONTROL = frozenset({"Cc", "Cf", "Zl", "Zp"})
# uvicorn and Celery add their own handlers to these.
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
    if not sys.stderr.isatty():
        _log_what_python_writes()
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.handlers, library.propagate = [], True
    # These would log URLs with their queries; the edge logs every request itself.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("httpx2").setLevel(max(level, logging.WARNING))


def _log_what_python_writes() -> None:
    """Log warnings and uncaught exceptions, which Python itself would write as several lines of text."""
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    sys.unraisablehook = _log_unraisable


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    _log.critical("uncaught_exception", exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(uncaught: threading.ExceptHookArgs) -> None:
    error, name = uncaught.exc_value, None if uncaught.thread is None else uncaught.thread.name
    if error is not None and not isinstance(error, SystemExit):
        _log.critical("uncaught_exception", thread=name, exc_info=error)


def _log_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    _log.error("ignored_exception", place=repr(unraisable.object)[:200], exc_info=unraisable.exc_value)


def _renderers(terminal: bool) -> list[Processor]:
    if terminal:
        return [escape_control_characters, structlog.dev.ConsoleRenderer()]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def escape_control_characters(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Escape control characters in untrusted text, so that a record stays on one line and is harmless to a terminal."""
    return {name: _escaped(value) if isinstance(value, str) else value for name, value in event.items()}


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _CONTROL else char for char in text
    )
