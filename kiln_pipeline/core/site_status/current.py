"""The `missing_wheels` table brought up to the log: what was built or has failed since the last refresh is no longer missing.

What a refresh would say now from the same upstream, without asking: a page that is made after a build says what the next refresh
will say. Ranks keep their order, not their numbers.
"""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

import pyarrow as pa

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.retries import standing
from kiln_pipeline.core.simple_index.changes import row_ranges
from kiln_pipeline.core.toolchains import Toolchains
from kiln_pipeline.core.verdicts import Rule

_STRONGER = (Rule.QUARANTINED, Rule.SUPERSEDED, Rule.COVERED, Rule.YANKED)
"""What decides before the log has a say (`Rule`'s order)."""
_READ = ("version", "identifier", "rule", "reason", "sdist_sha256")


def brought_up_to(missing: pa.Table, attempts: Sequence[Attempt], recipes: Iterable[Recipe], *, now: datetime) -> pa.Table:
    """Return the table as the log has it by now; the same table when nothing differs. `now` decides on retries only."""
    hashes = {recipe.project: recipe.sha256 for recipe in recipes}
    history: defaultdict[str, defaultdict[tuple[str, str], list[Attempt]]] = defaultdict(lambda: defaultdict(list))
    for attempt in attempts:
        history[attempt.release.project][attempt.release.version, str(attempt.identifier)].append(attempt)
    toolchains, changes, ranges = Toolchains.of(attempts), dict[int, tuple[Rule, str]](), row_ranges(missing)
    for project, tried in history.items():
        start, stop = ranges.get(project, (0, 0))
        for number, row in enumerate(missing.select(_READ).slice(start, stop - start).to_pylist(), start):
            own, rule = tried.get((row["version"], row["identifier"])), Rule(row["rule"])
            if own is None or rule in _STRONGER:
                continue
            state = standing(
                own, recipe_sha256=hashes.get(project, ""), sdist_sha256=row["sdist_sha256"], now=now, toolchains=toolchains
            )
            if state.wheel:
                found = Rule.PUBLISHED, f"published as {state.wheel}"
            elif state.waits and rule in (Rule.MISSING, Rule.FAILED):
                found = Rule.FAILED, state.waits
            else:
                continue
            if found != (rule, row["reason"]):
                changes[number] = found
    return _with(missing, changes) if changes else missing


def _with(missing: pa.Table, changes: dict[int, tuple[Rule, str]]) -> pa.Table:
    columns = {name: missing.column(name).to_pylist() for name in ("rule", "verdict", "reason")}
    for number, (rule, reason) in changes.items():
        columns["rule"][number], columns["verdict"][number], columns["reason"][number] = rule, rule.verdict, reason
    for name, values in columns.items():
        place = missing.schema.get_field_index(name)
        missing = missing.set_column(place, missing.schema.field(name), pa.array([str(value) for value in values], pa.string()))
    return missing
