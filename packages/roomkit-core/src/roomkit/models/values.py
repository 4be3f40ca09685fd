"""The values that records take: the one door for ids, texts and numbers from outside.

What a type says holds for every store. Plain values pass without a call of Python code.

| type | no Unicode (a lone surrogate) | NUL | too long |
|---|---|---|---|
| `Key`, `Id` | refused | refused | refused above 850 bytes of UTF-8 (`DerivedId`: 900) |
| `VendorKey` | U+FFFD | U+FFFD | cut, and made unique by a digest |
| `Reference` | refused | refused | - |
| `Text` | U+FFFD; halves of one character are joined | kept | - |
| `Label` | like `Text` | U+FFFD | - |
| `Summary` | like `Text` | U+FFFD | cut at 4,000 characters, with the former length |
| `Int` | | | refused beyond 64 bits with a sign |
| `VendorJson` | like `Text`, keys included | kept | see `vendor_json` |

In a stored record every value is accepted as it is: it passed the door of the version that wrote it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Any

from pydantic import Field, GetPydanticSchema
from pydantic_core import CoreSchema, core_schema, to_jsonable_python

from roomkit.models.base import MAX_DEPTH, freeze
from roomkit.models.vocabulary import reads_stored

__all__ = ["error_text"]

LONGEST_KEY = 850
"""Bytes of UTF-8. The smallest index is PostgreSQL's, with 2,704 bytes a row: three keys fit in one."""
LONGEST_SUMMARY = 4_000
_DIGEST = 16
_REPLACEMENT = "\ufffd"
_NOWHERE = "\U0010fffe"
"""A noncharacter of Unicode: valid, and never an id."""
_TOO_DEEP = f"(nested more than {MAX_DEPTH} levels deep)"


def repaired(text: str, *, keep_nul: bool = False) -> str:
    """Return valid Unicode: halves of a character joined, U+FFFD for lone ones and, unless kept, NUL."""
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text if keep_nul else text.replace("\0", _REPLACEMENT)


def summary(text: str) -> str:
    """Return a text repaired and cut to `LONGEST_SUMMARY` characters; a cut one says how long it was."""
    if len(text) <= LONGEST_SUMMARY:
        return repaired(text)
    note = f"… ({len(text)} characters)"
    return repaired(text[: LONGEST_SUMMARY - len(note)]) + note


def error_text(error: BaseException) -> str:
    """Return an exception as text that any record, log and event can hold: `ValueError: no such file`.

    The text is repaired and bounded (see `Summary`). An exception that cannot say its text is named by
    its class; this function never raises.
    """
    kind = type(error).__name__
    try:
        text = str(error)
    except Exception as failure:  # noqa: BLE001  # a foreign exception may do anything; it is named instead
        return f"{kind} without a text: its __str__ raised {type(failure).__name__}"
    return summary(f"{kind}: {text}" if text else kind)


def message_of(error: BaseException) -> str:
    """Return what an error of ours says, without its class; as safe as `error_text`."""
    try:
        return summary(str(error))
    except Exception:  # noqa: BLE001  # a subclass of another package may do anything
        return error_text(error)


def vendor_key(text: str) -> str:
    """Return a vendor's id as every store can hold it; the same id gives the same key everywhere."""
    text = repaired(text)
    if len(text.encode()) <= LONGEST_KEY:
        return text
    cut = text.encode()[: LONGEST_KEY - 2 * _DIGEST - 1].decode(errors="ignore")
    return f"{cut}~{_digest(text)}"


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[: 2 * _DIGEST]


def vendor_json(value: Any) -> Any:
    """Return a vendor's JSON deeply read-only (see `freeze`); what that refuses is repaired instead.

    The vendor has acted already, so its words cannot be refused. The same value gives the same JSON
    everywhere. In texts and keys, halves of one character are joined and lone ones become U+FFFD; keys that
    become equal are kept apart by a digest. Numbers of more than 4,300 digits, NaN and infinities become
    text. Objects become pydantic's JSON form of them, or the name of their class; values nested beyond 64
    levels is replaced by a note.
    """
    try:
        return freeze(value)
    except ValueError:
        return freeze(_mended_json(value))


def _mended_json(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return repaired(value, keep_nul=True)
    if isinstance(value, Mapping | list | tuple):
        if depth >= MAX_DEPTH:
            return _TOO_DEEP
        if isinstance(value, Mapping):
            return _with_mended_keys((key, _mended_json(item, depth + 1)) for key, item in value.items())
        return [_mended_json(item, depth + 1) for item in value]
    if isinstance(value, int):
        return value if _is_plain(value) else str(Decimal(value))  # `str` refuses as many digits
    if value is None or isinstance(value, float):
        return value if _is_plain(value) else str(value)
    return _mended_json(_json_of(value), depth)


def _with_mended_keys(items: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    mended: dict[str, Any] = {}  # bound: the vendor's object
    for key, item in items:
        text = str(_mended_json(key, MAX_DEPTH))
        if text in mended:
            text = f"{text}~{_digest(key if isinstance(key, str) else text)}"
        mended[text] = item
    return mended


def _is_plain(value: float | None) -> bool:
    try:
        freeze(value)
    except ValueError:
        return False
    return True


def _json_of(value: object) -> Any:
    """Return an object as JSON values, or the name of its class."""
    try:
        return to_jsonable_python(value, bytes_mode="base64", fallback=lambda unknown: type(unknown).__name__)
    except Exception:  # noqa: BLE001  # a foreign object may do anything; it is named instead
        return type(value).__name__


def is_key(text: str, *, longest: int = LONGEST_KEY) -> bool:
    """Return whether every store can hold a text as a key: valid Unicode without NUL, and short enough."""
    try:
        return len(text.encode()) <= longest and "\0" not in text
    except UnicodeEncodeError:
        return False


class _Nowhere(str):
    """An id that nothing has, shown as the one that was asked for."""

    __slots__ = ("_asked",)
    _asked: str

    def __new__(cls, asked: str) -> _Nowhere:
        nowhere = super().__new__(cls, _NOWHERE)
        nowhere._asked = asked
        return nowhere

    def __repr__(self) -> str:
        return repr(self._asked)


def findable(argument: Any) -> Any:
    """Return an argument as a store can be asked, to read or to write: what no store can hold is nowhere."""
    if isinstance(argument, str):
        return argument if is_key(argument, longest=sys.maxsize) else _Nowhere(argument)
    if isinstance(argument, list | tuple):
        mended = map(findable, argument)
        return argument._make(mended) if hasattr(argument, "_make") else type(argument)(mended)
    if is_dataclass(argument) and not isinstance(argument, type):
        return replace(
            argument, **{each.name: findable(getattr(argument, each.name)) for each in fields(argument)}
        )
    return argument


def _checked(longest: int | None, least: int = 0) -> GetPydanticSchema:
    plain = core_schema.str_schema(pattern=r"^[\x01-\x7f]*$", min_length=least, max_length=longest)
    most = sys.maxsize if longest is None else longest

    def check(text: str) -> str:
        if reads_stored() or (len(text) >= least and is_key(text, longest=most)):
            return text
        raise ValueError  # the union reports the error

    bounds = f"of {least} to {longest} bytes of UTF-8" if longest is not None else "of valid Unicode"
    return _either(plain, check, f"should be a string {bounds}, without NUL and lone surrogates")


def _mended(plain: CoreSchema, mend: Callable[[str], str]) -> GetPydanticSchema:
    return _either(plain, lambda text: text if reads_stored() else mend(text), "should be a valid string")


def _either(plain: CoreSchema, otherwise: Callable[[str], str], wanted: str) -> GetPydanticSchema:
    """Return the schema of a text that is taken if `plain` takes it, and else as `otherwise` returns it."""

    def schema(_source: Any, _handler: Any) -> CoreSchema:
        text = core_schema.str_schema()
        return core_schema.union_schema(
            [plain, core_schema.no_info_after_validator_function(otherwise, text)],
            mode="left_to_right",
            custom_error_type="string_value",
            custom_error_message=f"Input {wanted}",
        )

    def json_schema(_schema: Any, _handler: Any) -> dict[str, Any]:
        return {"type": "string"}

    return GetPydanticSchema(schema, json_schema)


def _vendor_json_schema(_source: Any, _handler: Any) -> CoreSchema:
    plain = core_schema.dict_schema(core_schema.any_schema(), core_schema.any_schema())
    return core_schema.union_schema(  # what needs no repair costs what `Json` costs
        [core_schema.no_info_after_validator_function(each, plain) for each in (freeze, vendor_json)],
        mode="left_to_right",
        custom_error_type="vendor_json",
        custom_error_message="Input should be a JSON object",
    )


_VALID = core_schema.str_schema(min_length=0)  # a bound, whatever it is, has pydantic look at the Unicode
_WITHOUT_NUL = core_schema.str_schema(pattern=r"^[^\x00]*$")

type Key = Annotated[str, _checked(LONGEST_KEY)]
"""An id or key of the program's or of an adapter's making. Empty is a value."""
type Id = Annotated[str, _checked(LONGEST_KEY, 1)]
"""A `Key` that is not empty."""
type DerivedId = Annotated[str, _checked(LONGEST_KEY + 50, 1)]
"""An id that the kernel makes of a key and a word of its own."""
type Reference = Annotated[str, _checked(None)]
"""A text with a meaning for the kernel that no index holds: visibility, a URL."""
type VendorKey = Annotated[
    str, _mended(core_schema.str_schema(pattern=r"^[\x01-\x7f]*$", max_length=LONGEST_KEY), vendor_key)
]
"""An id that a vendor gave to something that is done already, so that it can no longer be refused."""
type Text = Annotated[str, _mended(_VALID, lambda text: repaired(text, keep_nul=True))]
"""What people, agents and vendors say."""
type Label = Annotated[str, _mended(_WITHOUT_NUL, repaired)]
"""A name, title, reason or code: a text that a store keeps by itself."""
type Summary = Annotated[
    str, _mended(core_schema.str_schema(pattern=r"^[^\x00]*$", max_length=LONGEST_SUMMARY), summary)
]
"""What an error says."""
type Int = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
"""A number that every store and every JSON parser can hold."""
type VendorJson = Annotated[Mapping[str, Any], GetPydanticSchema(_vendor_json_schema)]
"""A JSON object that a vendor gave, repaired by `vendor_json`; `Json` is for what a program writes."""
