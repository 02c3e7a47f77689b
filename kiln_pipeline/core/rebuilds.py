"""Rebuilds: what the audit log says about one try to make a published wheel again. No building, no signing here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.platforms import BuildIdentifier, Platform


class RebuildVerdict(StrEnum):
    """What became of a rebuild. The names are public: they stand in the log, in statements and on pages."""

    IDENTICAL = "identical"
    """The same bytes."""
    EQUAL = "equal"
    """The same content once both are stabilised (`core.wheel_comparison`): an installer makes the same of both."""
    DIFFERENT = "different"
    NOT_REBUILDABLE = "not-rebuildable"


class Obstacle(StrEnum):
    """Why a wheel is not rebuildable. The names are public."""

    SDIST_GONE = "sdist-gone"
    """Nothing with the recorded sha256 is at the recorded address."""
    REQUIREMENT_GONE = "requirement-gone"
    """The upstream index no longer has a recorded build requirement, byte for byte."""
    IMAGE_GONE = "image-gone"
    """The container image of that digest is not to be had."""
    TOOL_GONE = "tool-gone"
    """cibuildwheel, or one of the tools around zig, is not to be had in the recorded version."""
    NOT_RECORDED = "not-recorded"
    """The statement does not say enough: something that went in has no hash."""
    REFUSED = "refused"
    """The statement asks for what no recipe may ask for."""
    OTHER_PLATFORM = "other-platform"
    """This host does not build for the wheel's platform."""
    NO_BUILDER = "no-builder"
    """The builder that made it cannot run here."""
    OTHER_INTERPRETER = "other-interpreter"
    """This host's interpreter is another patch release than the recorded one."""
    BUILD_FAILED = "build-failed"
    """It was built again with the recorded inputs, and failed."""

    @property
    def is_of_the_host(self) -> bool:
        """Whether another host could do what this one cannot: then nothing was found out about the wheel."""
        return self in (Obstacle.OTHER_PLATFORM, Obstacle.NO_BUILDER, Obstacle.OTHER_INTERPRETER)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuild:
    """One rebuild as the audit log has it. Times are UTC, aware; hashes are lower-case hex sha256."""

    release: Release
    identifier: BuildIdentifier
    wheel: str
    """Filename of the wheel that was to be made again."""
    wheel_sha256: str
    original: int
    """Position in the audit log of the attempt that made the wheel."""
    verdict: RebuildVerdict
    started: datetime
    finished: datetime
    host: str
    builder: str
    rebuilt_sha256: str = ""
    """sha256 of what was made this time; empty when nothing was."""
    obstacle: str = ""
    """`Obstacle` of a wheel that is not rebuildable; else empty."""
    reason: str = ""
    """The sentence to the obstacle."""
    difference_sha256: str = ""
    """sha256 of the gzipped text that says what differs; empty when nothing does, or nothing was made."""
    log_sha256: str = ""
    """sha256 of the gzipped build log."""
    statement_sha256: str = ""
    """sha256 of the DSSE envelope's payload: the identity of the rebuild."""
    index: int = -1
    """Position in the audit log; -1 before it is recorded."""


def rebuilds_by_wheel(rebuilds: Iterable[Rebuild]) -> dict[str, tuple[Rebuild, ...]]:
    """Return each wheel's rebuilds (by filename) in the log's order: the n-th of them is the wheel's rebuild number n."""
    found: dict[str, list[Rebuild]] = {}
    for rebuild in rebuilds:
        found.setdefault(rebuild.wheel, []).append(rebuild)
    return {wheel: tuple(of_wheel) for wheel, of_wheel in found.items()}


def sample(attempts: Sequence[Attempt], rebuilds: Iterable[Rebuild], platform: Platform, count: int) -> tuple[Attempt, ...]:
    """Return the next `count` wheels of a platform to rebuild: never rebuilt ones in the log's order, then the oldest verdicts.

    The same log gives the same choice.
    """
    newest = {rebuild.wheel: rebuild.index for rebuild in sorted(rebuilds, key=lambda rebuild: rebuild.index)}
    published = [attempt for attempt in attempts if attempt.wheel and attempt.identifier.platform == platform]
    return tuple(sorted(published, key=lambda attempt: (newest.get(attempt.wheel, -1), attempt.index))[:count])


def summary(rebuild: Rebuild) -> str:
    """Return the verdict in a line."""
    match rebuild.verdict:
        case RebuildVerdict.IDENTICAL:
            return f"identical: the same bytes, sha256 {rebuild.wheel_sha256}"
        case RebuildVerdict.EQUAL:
            return (
                f"equal once stabilised: every member is the same, the zip around them is not (sha256 {rebuild.rebuilt_sha256})"
            )
        case RebuildVerdict.DIFFERENT:
            return f"different: what was made has sha256 {rebuild.rebuilt_sha256}"
        case RebuildVerdict.NOT_REBUILDABLE:
            return f"not rebuildable: {rebuild.obstacle}: {rebuild.reason}"


def tell(rebuilds: Sequence[Rebuild], built_on: str) -> str:
    """Return a wheel's rebuilds in a sentence, such as ``rebuilt 2× elsewhere: identical``; empty when there are none.

    `built_on` is the host that made the wheel: a rebuild by the same host proves less, and is told apart.
    """
    parts = {
        "elsewhere": [r for r in rebuilds if r.host != built_on],
        "on its own build host": [r for r in rebuilds if r.host == built_on],
    }
    told = [f"{len(group)}× {where}: {_verdicts(group)}" for where, group in parts.items() if group]
    return f"rebuilt {'; '.join(told)}" if told else ""


def _verdicts(rebuilds: Sequence[Rebuild]) -> str:
    counts: Mapping[RebuildVerdict, int] = {
        verdict: sum(rebuild.verdict is verdict for rebuild in rebuilds) for verdict in RebuildVerdict
    }
    found = [(verdict, count) for verdict, count in counts.items() if count]
    return ", ".join(str(verdict) if len(found) == 1 else f"{count} {verdict}" for verdict, count in found)
