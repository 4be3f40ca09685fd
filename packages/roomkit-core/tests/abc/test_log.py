"""What a logger of RoomKit writes: nothing that forges a line, nothing that people said."""

from __future__ import annotations

import errno
import io
import logging

import pytest

from roomkit.abc.errors import CloseError, ErrorCode, InvalidInputError, ProviderError, RoomNotFoundError
from roomkit.abc.log import Quoted, get_logger
from roomkit.models.escaping import printable

HOSTILE = "x\n2026-11-29 CRITICAL auth: forged\r\x1b[2J\x9b2J\x00\x7f\u202e\u2066\u2028\ud83d"
SAID = "my card is 4111"


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError(SAID)


class Hostile:
    def __str__(self) -> str:
        return HOSTILE

    __repr__ = __str__


def _chained() -> Exception:
    try:
        try:
            raise KeyError(SAID + HOSTILE)
        except KeyError as cause:
            raise ValueError(SAID + HOSTILE) from cause
    except ValueError as error:
        return error


def _in_context() -> Exception:
    try:
        try:
            raise KeyError(SAID + HOSTILE)
        except KeyError:
            raise ProviderError(SAID + HOSTILE, error_code=ErrorCode.QUOTA)  # noqa: B904  # in its context
    except ProviderError as error:
        error.add_note(SAID)
        return error


def _circular() -> Exception:
    one, two = ValueError(SAID), TypeError(SAID)
    one.__cause__, two.__cause__ = two, one
    return one


ERRORS = {
    "plain": ValueError(SAID + HOSTILE),
    "of a vendor": ProviderError(SAID + HOSTILE),
    "chained": _chained(),
    "in context": _in_context(),
    "circular": _circular(),
    "group": ExceptionGroup(SAID, [ValueError(SAID + HOSTILE), ExceptionGroup(SAID, [KeyError(SAID)])]),
    "without a text": ValueError(Unprintable()),
}


@pytest.fixture
def log(request):
    """A logger and what it has written."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(taskName)s: %(message)s"))
    logger = get_logger(f"roomkit.test.{request.node.name}")
    logger.addHandler(handler)
    yield logger, out
    logger.removeHandler(handler)


def is_clean(text: str) -> bool:
    return all(mark.isprintable() for line in text.split("\n") for mark in line)


@pytest.mark.parametrize("level", ["warning", "error", "exception", "critical"])
@pytest.mark.parametrize(
    ("template", "args"),
    [
        ("%s", (HOSTILE,)),
        ("%r", (HOSTILE,)),
        ("%s of %.1f and %d", (HOSTILE, 1.5, 2)),
        ("%s", (Hostile(),)),
        ("%r", (Hostile(),)),
        ("%s", ([HOSTILE, Hostile()],)),
        ("%(id)s", ({"id": HOSTILE},)),
        ("%s", (Quoted(HOSTILE),)),
        ("%s", (InvalidInputError(HOSTILE),)),
        (HOSTILE, ()),
        ("%s", (Unprintable(),)),
    ],
)
def test_no_argument_forges_a_line(log, level, template, args):
    """Whatever it is, and wherever it stands in the message."""
    logger, out = log
    getattr(logger, level)(template, *args)
    written = out.getvalue().removesuffix("NoneType: None\n")
    assert written.count("\n") == 1
    assert is_clean(written)


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("how", ["argument", "traceback"])
def test_what_an_error_quotes_is_not_logged(log, error, how):
    """Its class is, and the place it was raised at."""
    logger, out = log
    if how == "argument":
        logger.warning("it failed: %s", error)
    else:
        logger.warning("it failed", exc_info=error)
    assert SAID not in out.getvalue()
    assert "forged" not in out.getvalue()
    assert type(error).__name__ in out.getvalue()
    assert is_clean(out.getvalue())


def test_a_traceback_names_every_link_of_the_chain_and_its_code(log):
    logger, out = log
    logger.warning("it failed", exc_info=_in_context())
    lines = out.getvalue().splitlines()
    assert "KeyError" in lines
    assert lines[-1] == "ProviderError (quota)"
    assert any("in _in_context" in line for line in lines)


@pytest.mark.parametrize(
    "error",
    [RoomNotFoundError("room 'r' does not exist"), CloseError("room 'r' does not exist", [ValueError(SAID)])],
)
def test_an_error_of_our_own_is_logged_with_its_text(log, error):
    logger, out = log
    logger.warning("it failed", exc_info=error)
    assert "room 'r' does not exist" in out.getvalue()
    assert SAID not in out.getvalue()


def test_an_error_of_the_system_is_logged_with_the_systems_words(log):
    logger, out = log
    logger.warning("it failed: %s", ConnectionRefusedError(errno.ECONNREFUSED, SAID))
    logger.warning("it failed: %s", ConnectionError(SAID))
    assert "it failed: ConnectionRefusedError (Connection refused)\n" in out.getvalue()
    assert "it failed: ConnectionError\n" in out.getvalue()
    assert SAID not in out.getvalue()


def test_the_texts_are_opted_into_by_name(log):
    """By DEBUG on the logger or on `roomkit`, never by the root's level; escaped even then."""
    logger, out = log
    root, ours = logging.getLogger(), logging.getLogger("roomkit")
    before = root.level, ours.level
    try:
        root.setLevel(logging.DEBUG)
        logger.warning("%s %s", ValueError(SAID), Quoted(SAID), exc_info=ValueError(SAID))
        assert SAID not in out.getvalue()
        ours.setLevel(logging.DEBUG)
        logger.warning("%s %s", ValueError(SAID), Quoted(SAID), exc_info=ValueError(SAID + HOSTILE))
        assert out.getvalue().count(SAID) == 3
        assert is_clean(out.getvalue())
    finally:
        root.setLevel(before[0])
        ours.setLevel(before[1])


def test_another_librarys_formatter_gets_no_exception_to_render(log, caplog):
    logger, _ = log
    logger.error("it failed", exc_info=ValueError(SAID))
    assert caplog.records[0].exc_info is None
    assert "ValueError" in caplog.records[0].exc_text


def test_a_record_of_another_maker_is_taken_too(log):
    """Some libraries make their own, without all that Python's have."""
    logger, out = log
    record = logging.makeLogRecord({"msg": "%s", "args": (HOSTILE,), "levelno": logging.ERROR})
    vars(record).pop("taskName", None)
    record.taskName = None
    logger.handle(record)
    del record.taskName
    assert logger.filter(record)
    assert is_clean(out.getvalue())


def test_a_logger_is_wrapped_once():
    assert len({get_logger("roomkit.test.twice") for _ in range(3)}) == 1
    assert len(get_logger("roomkit.test.twice").filters) == 1


def test_ordinary_text_stays_as_it_is():
    """In any script, with joined emoji and wide spaces."""
    for text in (
        "Grüße, 世界\u3000!",
        "\u0645\u06cc\u200c\u062e\u0648",
        "👨\u200d👩\u200d👧",
        "a\u00a0b",
        "C:\\new",
    ):
        assert printable(text, keep_lines=True) == text
        assert printable(text).isprintable()


def test_escapes_show_what_was_there():
    assert printable("a\nb\x1b[2J\x9b\x00\u202e\u2028\ud83d") == (
        "a\\nb\\x1b[2J\\x9b\\x00\\u202e\\u2028\\ud83d"
    )
    assert printable("a\nb\r", keep_lines=True) == "a\nb\\r"
