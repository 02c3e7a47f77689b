"""Building again with what a statement records: the plan whose build requirements are exactly the recorded files. Pure."""

from dataclasses import replace

from kiln_pipeline.core.build_plan import BuildPlan
from kiln_pipeline.core.provenance.statement import Statement
from kiln_pipeline.errors import VerificationError

FROM_INDEX = frozenset({"build-requirement", "tool"})
"""The kinds of materials that come from the index; tools that kiln itself pins have no sha256, and are had by their pin."""


def replay_plan(statement: Statement) -> BuildPlan:
    """Return the plan that repeats a statement's build: its strategy, and no other file than those recorded with a sha256.

    Raises `VerificationError` when a build requirement is on record without one: then it cannot be had again for certain.
    """
    materials = statement.materials
    unknown = [material.name for material in materials if material.kind == "build-requirement" and not material.sha256]
    if unknown:
        raise VerificationError(subject=str(statement.plan.release), reason=f"no sha256 is on record for {', '.join(unknown)}")
    only = tuple(sorted({material.sha256 for material in materials if material.kind in FROM_INDEX and material.sha256}))
    return replace(statement.plan, strategy=replace(statement.strategy, only=only))
