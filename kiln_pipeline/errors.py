"""Every error that kiln raises on purpose, in one tree split by whose fault it is.

Errors hold facts as attributes; the sentence is built in ``__str__`` and ends in what to do next. Adapters wrap foreign
exceptions in one of these, so that callers never catch `requests`, `OSError` or `KeyError`. Nothing here does any work.
"""

from collections.abc import Iterable
from dataclasses import dataclass


class KilnError(Exception):
    """Base of all errors on purpose; the command line prints ``str(error)`` and exits with `exit_code`."""

    exit_code = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing wrong with one input: where it is (`file`, dotted `field`), what is wrong, what to do."""

    file: str
    field: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.field}" if self.field else self.file
        return f"{where}: {self.message}"


class RecipeError(KilnError):
    """The maintainer's input is wrong: a recipe, a release name, an option. Holds every problem found, not the first."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(*self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class UpstreamError(KilnError):
    """The upstream index did not answer, or answered with something that is not what the specification says."""

    exit_code = 3

    def __init__(self, *, subject: str, reason: str, hint: str = "", retriable: bool = False) -> None:
        self.subject, self.reason, self.hint, self.retriable = subject, reason, hint, retriable
        super().__init__(subject, reason, hint, retriable)

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}" + (f" ({self.hint})" if self.hint else "")


class ProjectNotFound(UpstreamError):
    """The upstream index has no such project (HTTP 404): mostly a typing error in a recipe."""


class BuildError(KilnError):
    """The builder itself could not run (no engine, no interpreter, no tool). A package that fails to build is not an
    error but a failed attempt, which is recorded.
    """

    exit_code = 4

    def __init__(self, *, subject: str, reason: str, hint: str = "") -> None:
        self.subject, self.reason, self.hint = subject, reason, hint
        super().__init__(subject, reason, hint)

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}" + (f" ({self.hint})" if self.hint else "")


class BuildCancelled(KilnError):
    """A build was ended from outside, since its run is over: by Ctrl-C, by a cancellation. Nothing of it is recorded."""

    exit_code = 130

    def __str__(self) -> str:
        return "the build was cancelled; nothing of it is recorded"


class NotRebuildable(BuildError):
    """A recorded build cannot be done again, here or at all. `obstacle` is a `core.rebuilds.Obstacle`."""

    def __init__(self, *, subject: str, obstacle: str, reason: str, hint: str = "") -> None:
        super().__init__(subject=subject, reason=reason, hint=hint)
        self.obstacle = obstacle


class StoreError(KilnError):
    """A store (site, inbox, state) could not be read or written: disk full, no permission, locked by another run."""

    exit_code = 5

    def __init__(self, *, key: str, reason: str, hint: str = "") -> None:
        self.key, self.reason, self.hint = key, reason, hint
        super().__init__(key, reason, hint)

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}" + (f" ({self.hint})" if self.hint else "")


class ObjectNotFound(StoreError):
    """There is no object under that key."""

    def __init__(self, key: str) -> None:
        super().__init__(key=key, reason="no such object")


class ObjectExists(StoreError):
    """A put that must not overwrite found another object, with other bytes, under that key."""

    def __init__(self, key: str) -> None:
        super().__init__(key=key, reason="exists already with other bytes", hint="published files are never overwritten")


class DeliveryError(KilnError):
    """An alert could not be delivered. It is told again later; nothing else depends on it."""

    def __init__(self, *, channel: str, reason: str) -> None:
        self.channel, self.reason = channel, reason
        super().__init__(channel, reason)

    def __str__(self) -> str:
        return f"alerts to {self.channel}: {self.reason}"


class VerificationError(KilnError):
    """Something signed, hashed or logged does not match. Verification fails closed: there are no warnings."""

    exit_code = 6

    def __init__(self, *, subject: str, reason: str, hint: str = "") -> None:
        self.subject, self.reason, self.hint = subject, reason, hint
        super().__init__(subject, reason, hint)

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}" + (f" ({self.hint})" if self.hint else "")
