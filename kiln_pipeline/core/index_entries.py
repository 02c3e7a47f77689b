"""Which wheels of ours go on the pages, and which of them upstream has caught up with. No pages here."""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.missing_wheels import Rule


def superseded_wheels(missing: pa.Table, attempts: Sequence[Attempt]) -> frozenset[str]:
    """Return the filenames of our wheels whose release and identifier `missing` (`MISSING_SCHEMA`) says upstream covers now."""
    rows = missing.filter(pc.equal(missing.column("rule"), Rule.SUPERSEDED)).select(["project", "version", "identifier"])
    caught_up = {(row["project"], row["version"], row["identifier"]) for row in rows.to_pylist()}
    return frozenset(
        attempt.wheel
        for attempt in attempts
        if attempt.wheel and (attempt.release.project, attempt.release.version, str(attempt.identifier)) in caught_up
    )


def vouched_attempts(attempts: Sequence[Attempt], metadata: Callable[[Sequence[str]], pa.Table]) -> tuple[Attempt, ...]:
    """Return the attempts that pages may name: built by a recipe, or from an sdist that upstream lists.

    `metadata` gives the rows of some projects. An ad-hoc build from another address is on record and its wheel is in
    ``wheels/``, but it must not stand in front of upstream's files under the same name.
    """
    ad_hoc = sorted({attempt.release.project for attempt in attempts if not attempt.recipe_sha256})
    known = set(metadata(ad_hoc).column("sha256").to_pylist()) if ad_hoc else set[str]()
    return tuple(attempt for attempt in attempts if attempt.recipe_sha256 or attempt.sdist_sha256 in known)
