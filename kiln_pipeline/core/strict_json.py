"""Canonical JSON out, strict JSON in: what is signed, hashed or logged goes through here. No schema of any document.

Canonical means: keys sorted by code point, no spaces, UTF-8 without escapes that JSON does not need. Of every value there is
exactly one spelling, so that `parse_canonical` refuses any other byte than the one that was written.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import cast

from kiln_pipeline.errors import VerificationError

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


def canonical(value: object) -> bytes:
    """Return the canonical JSON of tables, lists, texts, numbers, booleans and None, without a newline.

    Raises `TypeError` for anything else (also for keys that are no texts) and `ValueError` for NaN and infinities. Characters
    that UTF-8 cannot hold (lone surrogates, as in a log line that was no UTF-8) are written as backslash escapes.
    """
    text = json.dumps(_plain(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8")


def _plain(value: object) -> object:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
    if type(value) is dict:  # what nearly all are: looked at before the abstract kinds, which cost more than all the rest
        table = cast("dict[object, object]", value)
        if not all(type(key) is str and key.isascii() for key in table):
            return _plain_mapping(table)
        return {key: _plain(item) for key, item in table.items()}
    if type(value) is list:
        return [_plain(item) for item in cast("list[object]", value)]
    if isinstance(value, Mapping):
        return _plain_mapping(cast("Mapping[object, object]", value))
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(item) for item in cast("Sequence[object]", value)]
    return value


def _plain_mapping(table: Mapping[object, object]) -> dict[str, object]:
    if not all(isinstance(key, str) for key in table):
        raise TypeError("the keys of a JSON table are texts")
    return {str(_plain(key)): _plain(item) for key, item in table.items()}


def parse(data: bytes, subject: str) -> object:
    """Parse strict JSON: UTF-8, no key twice, no NaN. Raises `VerificationError` that names `subject`."""
    try:
        return cast("object", json.loads(data.decode("utf-8"), object_pairs_hook=_no_key_twice, parse_constant=_no_constant))
    except (ValueError, RecursionError) as error:
        raise VerificationError(subject=subject, reason=f"it is no valid JSON: {error}") from error


def parse_canonical(data: bytes, subject: str) -> object:
    """Parse JSON that must be spelled exactly as `canonical` spells it. Raises `VerificationError` that names `subject`."""
    value = parse(data, subject)
    try:
        spelled = canonical(value)
    except RecursionError as error:
        raise VerificationError(subject=subject, reason="it is nested too deeply") from error
    if spelled != data:
        raise VerificationError(subject=subject, reason="it is not in canonical form: its bytes have been altered")
    return value


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key occurs twice in one table")
    return table


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


class Table:
    """A JSON table read field by field; every doubt is a `VerificationError` that names the document and the field."""

    def __init__(self, value: object, subject: str, *, fields: Collection[str] | None, path: str = "") -> None:
        """Take `value`, which must be a table with exactly these `fields` (None: any)."""
        self.subject, self.path = subject, path
        if not isinstance(value, dict):
            raise self.error("", "is no table")
        self._items = cast("dict[str, object]", value)
        if fields is not None and set(self._items) != set(fields):
            missing, unknown = sorted(set(fields) - set(self._items)), sorted(set(self._items) - set(fields))
            raise self.error("", f"has the wrong fields (missing: {missing}, unknown: {unknown})")

    def error(self, field: str, reason: str) -> VerificationError:
        """Build the error for one field of this table."""
        where = ".".join(part for part in (self.path, field) if part) or "the document"
        return VerificationError(subject=self.subject, reason=f"{where} {reason}")

    def raw(self, field: str) -> object:
        if field not in self._items:
            raise self.error(field, "is missing")
        return self._items[field]

    def text(self, field: str) -> str:
        value = self.raw(field)
        if not isinstance(value, str):
            raise self.error(field, "is no text")
        return value

    def exactly(self, field: str, expected: object) -> None:
        """Require one value, of that type."""
        value = self.raw(field)
        if value != expected or type(value) is not type(expected):
            raise self.error(field, f"is {value!r}, not {expected!r}")

    def sha256(self, field: str) -> str:
        value = self.text(field)
        if not _SHA256.fullmatch(value):
            raise self.error(field, "is no lower-case hex sha256")
        return value

    def time(self, field: str) -> datetime:
        """Read an RFC 3339 time in UTC with microseconds (`format_time`)."""
        value = self.text(field)
        try:
            if not _TIME.fullmatch(value):
                raise ValueError("the form is 2026-01-31T12:00:00.000000Z")
            return datetime.fromisoformat(value)
        except ValueError as error:
            raise self.error(field, f"is no time in UTC: {error}") from error

    def whole(self, field: str) -> int:
        """Read a whole number, zero or more."""
        value = self.raw(field)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.error(field, "is no whole number")
        return value

    def flag(self, field: str) -> bool:
        value = self.raw(field)
        if not isinstance(value, bool):
            raise self.error(field, "is neither true nor false")
        return value

    def items(self, field: str) -> list[object]:
        value = self.raw(field)
        if not isinstance(value, list):
            raise self.error(field, "is no list")
        return cast("list[object]", value)

    def texts(self, field: str) -> tuple[str, ...]:
        values = self.items(field)
        if not all(isinstance(value, str) for value in values):
            raise self.error(field, "is no list of texts")
        return tuple(cast("list[str]", values))

    def text_map(self, field: str) -> dict[str, str]:
        table = self.table(field, fields=None)
        return {key: table.text(key) for key in table._items}

    def table(self, field: str, *, fields: Collection[str] | None) -> "Table":
        return Table(self.raw(field), self.subject, fields=fields, path=f"{self.path}.{field}".lstrip("."))

    def tables(self, field: str, *, fields: Collection[str]) -> tuple["Table", ...]:
        path = f"{self.path}.{field}".lstrip(".")
        items = enumerate(self.items(field))
        return tuple(Table(item, self.subject, fields=fields, path=f"{path}[{number}]") for number, item in items)

    def plain(self) -> dict[str, object]:
        """Return the table as it is."""
        return self._items


def format_time(moment: datetime) -> str:
    """Return RFC 3339 in UTC with microseconds, ``2026-01-31T12:00:00.000000Z``. `moment` is aware."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
