"""Reading a lock's TOML tables: a wrong or missing value is one error that names file and key. No format is known here."""

import tomllib
from collections.abc import Callable, Mapping
from typing import Self, TypeVar, cast

from packaging.version import Version

from kiln_pipeline.core.distributions import project_name
from kiln_pipeline.core.lockfiles.target_markers import check_marker
from kiln_pipeline.core.toml_tables import kind_of
from kiln_pipeline.errors import Problem, RecipeError

T = TypeVar("T")


class LockTable:
    """One table of a lock file. Every method raises `RecipeError` for a value that is not what it asks for."""

    def __init__(self, data: Mapping[str, object], *, file: str, path: str = "") -> None:
        self.data, self.file, self.path = data, file, path

    @classmethod
    def parse(cls, text: str, *, file: str) -> Self:
        """Parse a whole file."""
        try:
            return cls(tomllib.loads(text), file=file)
        except tomllib.TOMLDecodeError as error:
            raise RecipeError([Problem(file=file, field="", message=f"is no TOML: {error}")]) from None

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def error(self, key: str, message: str) -> RecipeError:
        """Return the error to raise about a key."""
        field = f"{self.path}.{key}" if self.path and key else self.path or key
        return RecipeError([Problem(file=self.file, field=field, message=message)])

    def text(self, key: str, default: str | None = None) -> str:
        """Return a string; `default` when there is none, and no default means that there must be one."""
        value = self.data.get(key, default)
        if value is None:
            raise self.error(key, "is missing")
        if not isinstance(value, str):
            raise self.error(key, f"is no string but a {kind_of(value)}")
        return value

    def parsed(self, key: str, parse: Callable[[str], T]) -> T:
        """Return a string as `parse` reads it, whose `ValueError` is the reason when it cannot."""
        try:
            return parse(self.text(key))
        except ValueError as error:
            raise self.error(key, str(error)) from None

    def name(self) -> str:
        """Return the normalised project under ``name``."""
        return self.parsed("name", project_name)

    def version(self) -> str:
        """Return the normalised version under ``version``, empty when there is none."""
        return self.parsed("version", lambda text: str(Version(text))) if "version" in self.data else ""

    def marker(self, key: str) -> str:
        """Return a marker; empty when there is none."""
        return self.parsed(key, check_marker) if self.text(key, "") else ""

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings; none when the key is absent."""
        value = self._list(key)
        if not all(isinstance(entry, str) for entry in value):
            raise self.error(key, "is no list of strings")
        return tuple(cast(list[str], value))

    def table(self, key: str) -> "LockTable":
        """Return a table; an empty one when the key is absent."""
        value = self.data.get(key, {})
        if not isinstance(value, dict):
            raise self.error(key, f"is no table but a {kind_of(value)}")
        return LockTable(cast(dict[str, object], value), file=self.file, path=f"{self.path}.{key}" if self.path else key)

    def tables(self, key: str) -> tuple["LockTable", ...]:
        """Return a list of tables; none when the key is absent. Their places count from 1."""
        found: list[LockTable] = []
        for place, entry in enumerate(self._list(key), 1):
            path = f"{self.path}.{key}[{place}]" if self.path else f"{key}[{place}]"
            if not isinstance(entry, dict):
                raise RecipeError([Problem(file=self.file, field=path, message=f"is no table but a {kind_of(entry)}")])
            found.append(LockTable(cast(dict[str, object], entry), file=self.file, path=path))
        return tuple(found)

    def _list(self, key: str) -> list[object]:
        value = self.data.get(key, [])
        if not isinstance(value, list):
            raise self.error(key, f"is no list but a {kind_of(value)}")
        return cast(list[object], value)
