"""pip's requirements file as a lock: pinned requirements with hashes, markers, extras, continued lines, ``-r`` and ``-c``."""

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from kiln_pipeline.core.distributions import project_name
from kiln_pipeline.core.lockfiles.model import Installer, LockedPackage, LockFile
from kiln_pipeline.core.lockfiles.target_markers import check_marker
from kiln_pipeline.errors import Problem, RecipeError

_COMMENT = re.compile(r"(^|\s+)#.*$")
_OPTION = re.compile(r"(?P<name>--[a-z-]+|-[a-z])\s*=?\s*(?P<value>.*)", re.DOTALL)
_OF_A_LINE = ("--hash", "--config-setting", "--config-settings", "--global-option", "--install-option")
_FILES = {"-r": "-r", "--requirement": "-r", "-c": "-c", "--constraint": "-c"}
_EDITABLE = ("-e", "--editable")
_WITHOUT_A_SAY = frozenset(
    {
        *("-i", "--index-url", "--pypi-url", "--extra-index-url", "--no-index", "-f", "--find-links", "--trusted-host"),
        *("--use-feature", "--pre", "--require-hashes", "--prefer-binary", "--only-binary", "--uploaded-prior-to"),
    }
)
_PLACE = re.compile(r"^(\.{0,2}/|~/|file:|[a-z+]+://|git\+)|[/\\]|\.(whl|zip|tar\.gz|tar\.bz2|tgz)$", re.IGNORECASE)
"""What a requirement without a name looks like: a path, a URL, an archive."""


def parse_requirements(text: str, *, file: str, read: Callable[[str], str]) -> LockFile:
    """Read a requirements file and what it includes; `read` returns the text of an included file, by its path.

    What is not pinned with ``==`` (or ``===``), here or by a constraints file, is reported as unpinned. Raises `RecipeError`.
    """
    reader = _Reader(read)
    reader.take(text, file, constrains=False)
    packages, unpinned = reader.finish()
    return LockFile(
        file=file, installer=Installer.PIP, packages=packages, unpinned=unpinned, notes=tuple(dict.fromkeys(reader.notes))
    )


@dataclass(slots=True)
class _Reader:
    """Collects the requirements of a file and of all that it includes."""

    read: Callable[[str], str]
    found: list[tuple[Requirement, str]] = field(default_factory=list[tuple[Requirement, str]])
    """With the place that each was found at."""
    placed: list[LockedPackage] = field(default_factory=list[LockedPackage])
    pins: dict[str, str] = field(default_factory=dict[str, str])
    """What constraints files pin."""
    notes: list[str] = field(default_factory=list[str])
    open: list[str] = field(default_factory=list[str])

    def take(self, text: str, file: str, *, constrains: bool) -> None:
        if file in self.open:
            raise RecipeError([Problem(file=file, field="", message=f"includes itself, by way of {self.open[-1]}")])
        self.open.append(file)
        for number, line in _logical_lines(text):
            where = f"line {number}"
            try:
                self._line(line, file, where, constrains)
            except ValueError as error:
                raise RecipeError([Problem(file=file, field=where, message=str(error))]) from None
        self.open.pop()

    def finish(self) -> tuple[tuple[LockedPackage, ...], tuple[str, ...]]:
        """Return the pinned or placed packages, and the requirements that pin nothing."""
        packages, unpinned = list(self.placed), list[str]()
        for requirement, where in self.found:
            name = project_name(requirement.name)
            version = _pin(requirement) or self.pins.get(name, "")
            markers = (str(requirement.marker),) if requirement.marker else ()
            if requirement.url:
                packages.append(LockedPackage(project=name, source=requirement.url, markers=markers))
            elif version:
                packages.append(LockedPackage(project=name, version=version, markers=markers))
            else:
                unpinned.append(f"{requirement} ({where})")
        return tuple(packages), tuple(unpinned)

    def _line(self, line: str, file: str, where: str, constrains: bool) -> None:
        if line.startswith("-"):
            self._option(line, file, constrains)
            return
        words = line.split()
        options = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
        for word in words[options:]:
            name = word.partition("=")[0]
            if word.startswith("-") and name not in _OF_A_LINE:
                raise ValueError(f"{name} is no option that pip knows behind a requirement")
        self._requirement(" ".join(words[:options]), f"{file}, {where}", constrains)

    def _option(self, line: str, file: str, constrains: bool) -> None:
        match = _OPTION.fullmatch(line)
        name, value = (match["name"], match["value"].strip()) if match else (line, "")
        if name in _FILES:
            if "://" in value or not value:
                raise ValueError(f"{name} {value}: only files beside this one are read; fetch it first")
            path = posixpath.normpath(posixpath.join(posixpath.dirname(file), value))
            self.take(self.read(path), path, constrains=constrains or _FILES[name] == "-c")
        elif name in _EDITABLE:
            self.placed.append(LockedPackage(project=value, source=value))
        elif name == "--no-binary":
            self.notes.append(f"--no-binary {value} is not taken into account: a wheel counts as a wheel")
        elif name not in _WITHOUT_A_SAY:
            raise ValueError(f"{name} is no option that pip knows in a requirements file")

    def _requirement(self, text: str, where: str, constrains: bool) -> None:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            place, _, marker = text.partition(" ;")
            if not _PLACE.search(place):
                raise ValueError(f"{text!r} is no requirement: {str(error).splitlines()[0]}") from None
            markers = (check_marker(marker.strip()),) if marker.strip() else ()
            if not constrains:
                self.placed.append(LockedPackage(project=place, source=place, markers=markers))
            return
        if not constrains:
            self.found.append((requirement, where))
        elif _pin(requirement):
            self.pins[project_name(requirement.name)] = _pin(requirement)


def _pin(requirement: Requirement) -> str:
    """Return the version that a requirement pins, normalised; empty when it pins none."""
    clauses = list(requirement.specifier)
    if len(clauses) != 1 or clauses[0].operator not in ("==", "===") or clauses[0].version.endswith(".*"):
        return ""
    try:
        return str(Version(clauses[0].version))
    except InvalidVersion:
        raise ValueError(f"{requirement}: {clauses[0].version!r} is no version (PEP 440)") from None


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each line that says something, continued lines joined as pip joins them, with the number of its first line."""
    parts: list[str] = []
    first = 1
    for number, line in enumerate(text.splitlines(), 1):
        if not parts:
            first = number
        comment = bool(_COMMENT.match(line))
        if line.endswith("\\") and not comment:
            parts.append(line[:-1])
            continue
        parts.append(f" {line}" if comment else line)  # so that a comment stays one
        joined = _COMMENT.sub("", "".join(parts)).strip()
        parts = []
        if joined:
            yield first, joined
    joined = _COMMENT.sub("", "".join(parts)).strip()
    if joined:
        yield first, joined
