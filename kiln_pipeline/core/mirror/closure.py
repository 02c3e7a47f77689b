"""What an index must have so that one project installs from it alone: the answer of `stages.closure`, as values."""

from dataclasses import dataclass

from kiln_pipeline.core.platforms import BuildIdentifier


@dataclass(frozen=True, kw_only=True, slots=True)
class Needed:
    """One project of a closure."""

    project: str
    specifiers: tuple[str, ...]
    """What is asked of it, as it is written, each once and sorted; an empty one takes any release."""
    releases: tuple[str, ...]
    """The versions that were followed, oldest first."""
    by: tuple[str, ...]
    """The releases that require it, sorted; none for the one that was asked about."""
    problems: tuple[str, ...] = ()
    """What could not be followed, and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Closure:
    """What was found, sorted by project."""

    targets: tuple[BuildIdentifier, ...]
    needed: tuple[Needed, ...]
    cut_off: bool = False
