"""Loggers in which text from outside cannot forge lines, and which do not repeat people's messages."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, override

from roomkit.abc.errors import ProviderError, RoomKitError
from roomkit.models.escaping import printable

__all__ = ["Quoted", "get_logger"]

_MOST_CHAINED = 15


class Quoted(str):
    """Text that may quote a message or a vendor's answer, as an argument of a log call.

    The log has its length; the text itself only where `get_logger` says.
    """

    __slots__ = ()


def get_logger(name: str) -> logging.Logger:
    """Return the logger `name` of the standard library, with RoomKit's rules for what it writes.

    Every argument of a log call is escaped (see `printable`), so that an id with a newline cannot
    forge a line. An exception, as an argument or as `exc_info`, is written as its class and code. Its
    text is added for a `RoomKitError` that is no `ProviderError`: those name ids and settings; an
    `OSError` has the system's words for its number. Any
    other text may quote a message, so it is written only if the logger itself, or one of its named
    parents (`roomkit`), was set to DEBUG; the level of the root logger does not do it.
    """
    logger = logging.getLogger(name)
    if not any(isinstance(one, _Discreet) for one in logger.filters):
        logger.addFilter(_Discreet(logger))
    return logger


class _Discreet(logging.Filter):
    """Rewrites each record of one logger before any handler sees it."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self._logger = logger

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        texts = _texts_wanted(self._logger)
        record.msg = _shown(record.msg, texts)
        if isinstance(record.args, Mapping):
            record.args = {name: _shown(value, texts) for name, value in record.args.items()}
        elif record.args:
            record.args = tuple(_shown(value, texts) for value in record.args)
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = "\n".join(traceback_lines(record.exc_info[1], texts=texts))
            # Formatters of other libraries render `exc_info` themselves, texts and all.
            record.exc_info = record.exc_info if texts else None
        if (task := getattr(record, "taskName", None)) is not None:
            record.taskName = printable(task)
        return True


def _texts_wanted(logger: logging.Logger) -> bool:
    named: logging.Logger | None = logger
    while named is not None and named.parent is not None:  # the root has no parent
        if named.level != logging.NOTSET:
            return named.level <= logging.DEBUG
        named = named.parent
    return False


def _shown(value: object, texts: bool) -> Any:
    """Return a value that any conversion of a format string takes as it takes `value`."""
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, Quoted) and not texts:
        return f"<{len(value)} characters>"
    if isinstance(value, BaseException):
        return _error(value, texts)
    return printable(_text(value))


def _error(error: BaseException, texts: bool) -> str:
    kind = type(error).__name__
    code = getattr(error, "error_code", None) or getattr(error, "code", None)
    about = f"{kind} ({printable(_text(code))})" if isinstance(error, RoomKitError) else kind
    if isinstance(error, OSError) and isinstance(error.errno, int):
        about = f"{kind} ({os.strerror(error.errno)})"  # the system's own words, whatever the error says
    if not texts and (isinstance(error, ProviderError) or not isinstance(error, RoomKitError)):
        return about
    text = printable(_text(error))
    return f"{about}: {text}" if text else about


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  # a log call must not fail on what it is given; it says so
        return f"<{type(value).__name__} without a text: {type(error).__name__}>"


def traceback_lines(error: BaseException, *, texts: bool) -> Iterator[str]:
    """Yield the lines of a traceback, causes first, escaped; with the exceptions' texts if wanted."""
    chain: list[tuple[BaseException, str]] = [(error, "")]  # bound: _MOST_CHAINED
    while len(chain) < _MOST_CHAINED and (link := _link(chain[-1][0])) is not None:
        if any(link[0] is known for known, _ in chain):
            break
        chain.append(link)
    for each, relation in reversed(chain):
        yield "Traceback (most recent call last):"
        for frame in traceback.format_tb(each.__traceback__):
            yield from (printable(line) for line in frame.splitlines())
        yield _error(each, texts)
        if isinstance(each, BaseExceptionGroup):
            for number, member in enumerate(each.exceptions[:_MOST_CHAINED], 1):
                yield f"  {number}. {_error(member, texts)}"
        if relation:
            yield relation


def _link(error: BaseException) -> tuple[BaseException, str] | None:
    """Return the cause or context of `error`, and the words that join the two."""
    if error.__cause__ is not None:
        return error.__cause__, "\nwhich was the direct cause of:\n"
    if error.__context__ is not None and not error.__suppress_context__:
        return error.__context__, "\nduring the handling of which came:\n"
    return None
