"""Every gap of a whole index as bit masks: one word or two per release instead of one row per target. No reasons, no recipes.

The same facts and the same rules as the table of missing wheels, for everyone's projects at once: every release wanted, no
pre-releases, nothing tried yet. The tests hold the two against each other.
"""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kiln_pipeline.core.coverage import COLUMNS, NONE, Bools, Masks, ReleaseFacts, TargetSet, pack, release_facts
from kiln_pipeline.core.platforms import cibuildwheel_version

GAP_COLUMNS = (*COLUMNS, "upload_time", "project_status")
"""The columns of `release_metadata.SCHEMA` that gaps are found from."""
_PRE_RELEASE = r"^[^+]*(?:a|b|rc|\.dev)\d"
"""In a normalised version (PEP 440) nothing else looks like this."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Gaps:
    """The missing wheels of every release of a table; a release's row is that of `facts`."""

    facts: ReleaseFacts
    missing: Masks

    def counts(self, targets: int) -> list[int]:
        """Return how many releases lack a wheel, for each of the first `targets` targets."""
        flags = np.unpackbits(self.missing.astype("<u8").view(np.uint8), axis=1, count=targets, bitorder="little")
        return flags.sum(axis=0, dtype=np.int64).tolist()


def find_gaps(files: pa.Table, targets: TargetSet, *, now: datetime, min_age: timedelta = timedelta(hours=24)) -> Gaps:
    """Return the gaps of every release in `files` (at least `GAP_COLUMNS`), a release being too new before `min_age`."""
    facts = release_facts(files, targets)
    buildable = np.array([[cibuildwheel_version(target.identifier) is not None for target in targets.targets]], dtype=np.bool_)
    missing = facts.admitted & ~facts.covered & pack(buildable)
    missing[_left_alone(files, facts, now - min_age)] = 0
    return Gaps(facts=facts, missing=missing)


def whole_projects(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the same rows, cut where one project ends and the next begins; `tables` are sorted by project."""
    rest: list[pa.Table] = []
    for table in tables:
        if not len(table):
            continue
        projects = table.column("project")
        last = len(table) - int(pc.sum(pc.equal(projects, projects[len(table) - 1])).as_py())
        if last or (rest and rest[0].column("project")[0] != projects[0]):
            yield pa.concat_tables([*rest, table.slice(0, last)])
            rest = []
        rest.append(table.slice(last))
    if rest:
        yield pa.concat_tables(rest)


def _left_alone(files: pa.Table, facts: ReleaseFacts, before: datetime) -> Bools:
    """Return the releases of which nothing is ever missing: yanked, without sdist, pre-release, quarantined, too new."""
    versions = pa.array(facts.versions, pa.string())
    pre_release = pc.match_substring_regex(versions, _PRE_RELEASE).to_numpy(zero_copy_only=False)[facts.version]
    rows = pa.array(facts.sdist, mask=facts.sdist == NONE)
    quarantined = pc.fill_null(pc.equal(files.column("project_status").take(rows), "quarantined"), False)
    times = files.column("upload_time").take(rows)
    limit = pa.scalar(before.astimezone(UTC), times.type)
    too_new = pc.fill_null(pc.greater(times, limit), False)
    result: Bools = facts.sdist_yanked | (facts.sdist == NONE) | pre_release.astype(np.bool_)
    return result | quarantined.to_numpy().astype(np.bool_) | too_new.to_numpy().astype(np.bool_)
