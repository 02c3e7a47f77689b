"""Reading typed values out of a parsed TOML table: every wrong value becomes a Problem, nothing raises.

What the keys mean is the caller's business; nothing here knows recipes.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Self, TypeVar, cast

from kiln_pipeline.errors import Problem

T = TypeVar("T")

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?", re.ASCII)
_KINDS = ((bool, "boolean"), (str, "string"), (int, "integer"), (float, "float"), (list, "list"), (dict, "table"))


def kind_of(value: object) -> str:
    """Return TOML's name of a value's type: ``string``, ``integer``, ``list``, …; ``date`` for all dates and times."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "date")


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return what to write instead of an unknown word: the nearest known one, or all of them."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"


def short_name(text: str, *, what: str) -> str:
    """Return the name that a table gives itself, fit for a key of the state. Raises `ValueError`: it is none for a `what`."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name for a {what}: lower-case letters, digits and '-', 64 at most")
    return text


class TableReader:
    """One TOML table of one file. Ask for every key that is known, then call `finish`, which reports the others.

    A value of the wrong type, or that its `parse` refuses with a `ValueError`, is reported and read as None, like an absent one.
    """

    def __init__(self, data: Mapping[str, object], *, file: str, problems: list[Problem], path: str = "") -> None:
        self.file, self.problems = file, problems
        self.data, self._path = data, path
        self._asked: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def field(self, key: str) -> str:
        """Return the dotted key, quoted as TOML would have it."""
        bare = key if _BARE_KEY.fullmatch(key) else f'"{key}"'
        return f"{self._path}.{bare}" if self._path else bare

    def report(self, key: str, message: str) -> None:
        self.problems.append(Problem(file=self.file, field=self.field(key), message=message))

    def require(self, key: str, what: str) -> None:
        """Report an absent key; `what` says what to write."""
        if key not in self.data:
            self.report(key, f"is missing: {what}")

    def refuse(self, key: str, reason: str) -> None:
        """Report a key that is known and must not be there."""
        self._asked.append(key)
        self.report(key, f"may not be set here: {reason}")

    def raw(self, key: str, *kinds: str) -> object | None:
        """Return the value when it is of one of the `kinds`, else None."""
        self._asked.append(key)
        value = self.data.get(key)
        if value is None or kind_of(value) in kinds:
            return value
        self.report(key, f"is {_with_article(kind_of(value))}; write {' or '.join(_with_article(kind) for kind in kinds)}")
        return None

    def text(self, key: str, parse: Callable[[str], T]) -> T | None:
        value = self.raw(key, "string")
        return None if value is None else self._parsed(key, cast(str, value), parse)

    def texts(self, key: str, parse: Callable[[str], T], *, or_one: bool = False) -> tuple[T, ...] | None:
        """Return a list of strings, each parsed; entries that come twice are reported. `or_one` takes a bare string too."""
        value = self.raw(key, "list", "string") if or_one else self.raw(key, "list")
        if value is None:
            return None
        entries = cast(list[object], [value] if isinstance(value, str) else value)
        if not all(isinstance(entry, str) for entry in entries):
            self.report(key, "has an entry that is no string; write a list of strings")
            return None
        results = [self._parsed(key, cast(str, entry), parse) for entry in entries]
        good = tuple(result for result in results if result is not None)
        repeated = sorted({str(result) for result in good if good.count(result) > 1})
        if repeated:
            self.report(key, f"lists {', '.join(repeated)} more than once; keep one")
        return good if len(good) == len(entries) and not repeated else None

    def integer(self, key: str) -> int | None:
        return cast(int | None, self.raw(key, "integer"))

    def flag(self, key: str) -> bool | None:
        return cast(bool | None, self.raw(key, "boolean"))

    def table(self, key: str) -> Self:
        """Return the table under `key`; an empty one when it is absent or no table."""
        value = self.raw(key, "table")
        return self._below(cast(Mapping[str, object], value or {}), self.field(key))

    def tables(self, key: str) -> tuple[Self, ...]:
        """Return the array of tables ``[[key]]``; its fields are written ``key[0].…``."""
        value = cast(list[object], self.raw(key, "list") or [])
        if not all(isinstance(entry, dict) for entry in value):
            self.report(key, f"has an entry that is no table; write [[{key}]]")
            return ()
        return tuple(self._below(cast(Mapping[str, object], entry), f"{self.field(key)}[{n}]") for n, entry in enumerate(value))

    def finish(self) -> None:
        """Report every key that nobody asked for."""
        for key in self.data:
            if key not in self._asked:
                self.report(key, f"is unknown; {did_you_mean(key, self._asked)}")

    def _below(self, data: Mapping[str, object], path: str) -> Self:
        return type(self)(data, file=self.file, problems=self.problems, path=path)

    def _parsed(self, key: str, text: str, parse: Callable[[str], T]) -> T | None:
        try:
            return parse(text)
        except ValueError as error:
            self.report(key, str(error))
            return None


def _with_article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def report_repeated(rows: Sequence[tuple[TableReader, object | None]], *keys: str) -> None:
    """Report each of `keys` whose value more than one row has; a row is a table and what was read from it, or None."""
    read = [value for _, value in rows if value is not None]
    for reader, own in rows:
        for key in keys if own is not None else ():
            value = getattr(own, key)
            if sum(getattr(other, key) == value for other in read) > 1:
                reader.report(key, f"{value!r} is there more than once")
