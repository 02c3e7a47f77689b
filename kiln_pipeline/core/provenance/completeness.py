"""Whether a provenance statement leaves nothing open: everything that went into a wheel is named, and fixed by a hash.

A statement that parses is well formed; this asks whether it is enough to build the wheel again and to trace every input.
"""

from collections.abc import Iterator

from kiln_pipeline.core.build_plan import Material
from kiln_pipeline.core.provenance.statement import Statement

_CONTAINERLESS = "macosx"
"""The platform family whose builds run on the host itself, without an image."""
_COMPILERS = ("cibuildwheel==", "ziglang==")


def gaps(statement: Statement) -> tuple[str, ...]:
    """Return what is missing in a statement, in words for a person; nothing when it is complete.

    A success names its interpreter, the tool that built it with its exact version, the container image (where there is one) and
    every build requirement, the last two by sha256, the command, and the rung of the ladder that won. A failure names its class
    and the line that proves it: how far it came decides what else it can name.
    """
    return tuple(_failure_gaps(statement) if statement.wheel is None else _success_gaps(statement))


def _failure_gaps(statement: Statement) -> Iterator[str]:
    if not statement.attempt.failure:
        yield "the failure has no class"
    if not statement.attempt.proof:
        yield "no line of its log proves the failure"


def _success_gaps(statement: Statement) -> Iterator[str]:
    by_kind: dict[str, list[Material]] = {}
    for material in statement.materials:
        by_kind.setdefault(material.kind, []).append(material)
    if not by_kind.get("interpreter"):
        yield "the interpreter is not named"
    if not any(material.name.startswith(_COMPILERS) for material in by_kind.get("tool", [])):
        yield "neither cibuildwheel nor zig is named with its version"
    in_container = statement.attempt.builder == "cibuildwheel" and statement.plan.identifier.platform.family != _CONTAINERLESS
    if in_container and not by_kind.get("image"):
        yield "the container image is not named"
    for kind in ("image", "build-requirement"):
        yield from (f"{material.name} has no sha256" for material in by_kind.get(kind, []) if not material.sha256)
    if not statement.command:
        yield "the command is not there"
    if statement.rungs and (statement.rungs[-1].failure_class or statement.rungs[-1].rung != statement.strategy.rung):
        yield "the rung that won is not the one that it was built by"
