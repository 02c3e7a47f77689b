"""Which wheels are missing, and for every other wanted target why not: verdicts, rules and reasons, one row each.

The facts come from `core.coverage`, for the whole table at once; here recipes, attempts and the time given decide. Rules are
tried in the order of `core.verdicts.Rule`, the first that applies gives the verdict. No fetching, no building, no rendering.
"""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.cases import Case, case_of
from kiln_pipeline.core.coverage import NONE, Ints, bit, covering_wheels
from kiln_pipeline.core.demand import NO_DEMAND, Demand
from kiln_pipeline.core.distributions import DistributionFile, FileKind, Release
from kiln_pipeline.core.platforms import BuildIdentifier, Platform, cibuildwheel_version
from kiln_pipeline.core.ranking import ranked
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.retries import Standing, standing
from kiln_pipeline.core.toolchains import Toolchains
from kiln_pipeline.core.verdicts import RULES, Rule, Verdict, reasons

_TIME = pa.timestamp("us", tz="UTC")

MISSING_SCHEMA = pa.schema(
    [
        pa.field("project", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("identifier", pa.string(), nullable=False),
        pa.field("python", pa.string(), nullable=False),
        pa.field("platform", pa.string(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("covered_by", pa.string(), nullable=False),
        pa.field("sdist", pa.string(), nullable=False),
        pa.field("sdist_url", pa.string(), nullable=False),
        pa.field("sdist_sha256", pa.string(), nullable=False),
        pa.field("sdist_size", pa.int64(), nullable=False),
        pa.field("sdist_requires_python", pa.string(), nullable=False),
        pa.field("sdist_upload_time", _TIME),
        pa.field("priority", pa.int32(), nullable=False),
        pa.field("rank", pa.int32()),
        pa.field("rank_reason", pa.string(), nullable=False),
        pa.field("expects_extension", pa.bool_(), nullable=False),
    ]
)
"""One row per wanted release and build identifier, sorted by project, version (PEP 440), platform and Python.

`reason` is a sentence for a person. `covered_by` is the wheel that covers or that we published, else empty. The sdist columns
are empty without an sdist. `rank` counts the missing wheels in the order of building, from 0; null where nothing is to be built.
`rank_reason` says why it has its place (`core.ranking`), and is empty where there is none.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class MissingWheel:
    """One row with the verdict ``missing``, typed: what a build plan begins with."""

    release: Release
    identifier: BuildIdentifier
    sdist: DistributionFile
    expects_extension: bool
    """Whether upstream's other wheels say that a wheel of this release holds an extension module."""


def empty() -> pa.Table:
    """Return the table without any row."""
    return MISSING_SCHEMA.empty_table()


def detect(
    metadata: pa.Table,
    recipes: Sequence[Recipe],
    attempts: Sequence[Attempt],
    *,
    now: datetime,
    projects: pa.Table | None = None,
    demand: Demand = NO_DEMAND,
) -> pa.Table:
    """Return the verdict on every wanted release × build identifier, as `MISSING_SCHEMA`.

    `metadata` has `release_metadata.SCHEMA`, `projects` its `PROJECTS_SCHEMA`: where given, its status of a project is the one in
    force. `now` is aware; it decides on ages and retries only. One recipe per project; the last one given wins. `demand`
    has a say in the order of building only.
    """
    by_project = {recipe.project: recipe for recipe in recipes}
    chosen = tuple(by_project[project] for project in sorted(by_project))
    files = metadata.filter(pc.is_in(metadata.column("project"), value_set=pa.array(list(by_project), pa.string())))
    case = case_of(files.combine_chunks(), chosen, now=now, projects=projects)
    standings = _standings(case, attempts)
    rules = _rules(case, standings)
    return _table(case, rules, standings, demand)


def in_order(table: pa.Table, platform: Platform | None = None) -> pa.Table:
    """Return the rows that are missing (on `platform`, where given), in the order of building."""
    rows = table.filter(pc.equal(table.column("verdict"), Verdict.MISSING))
    if platform is not None:
        rows = rows.filter(pc.equal(rows.column("platform"), platform))
    return rows.sort_by("rank")


def missing_for(table: pa.Table, release: Release, platform: Platform) -> tuple[MissingWheel, ...]:
    """Return the missing wheels of one release on one platform, by Python."""
    wanted = pc.and_(pc.equal(table.column("project"), release.project), pc.equal(table.column("version"), release.version))
    here = pc.and_(pc.equal(table.column("platform"), platform.value), pc.equal(table.column("verdict"), Verdict.MISSING.value))
    return tuple(_missing_wheel(row) for row in table.filter(pc.and_(wanted, here)).to_pylist())


def _missing_wheel(row: Mapping[str, Any]) -> MissingWheel:
    return MissingWheel(
        release=Release(project=row["project"], version=row["version"]),
        identifier=BuildIdentifier.parse(row["identifier"]),
        sdist=DistributionFile(
            filename=row["sdist"],
            url=row["sdist_url"],
            kind=FileKind.SDIST,
            version=row["version"],
            sha256=row["sdist_sha256"],
            size=row["sdist_size"],
            requires_python=row["sdist_requires_python"],
            upload_time=row["sdist_upload_time"] and row["sdist_upload_time"].astimezone(UTC),
        ),
        expects_extension=row["expects_extension"],
    )


def _standings(case: Case, attempts: Sequence[Attempt]) -> dict[int, Standing]:
    """Return row -> standing of every row that has an attempt."""
    tried: defaultdict[tuple[str, str, str], list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        tried[attempt.release.project, attempt.release.version, str(attempt.identifier)].append(attempt)
    known = {(release.project, release.version) for release in (attempt.release for attempt in attempts)}
    facts, identifiers = case.facts, [str(target.identifier) for target in case.targets]
    named = zip(facts.project.tolist(), facts.version.tolist(), strict=True)
    names = [(facts.projects[project], facts.versions[version]) for project, version in named]
    touched = np.array([name in known for name in names], dtype=np.bool_)
    hashes = case.sdist_column("sha256")
    result: dict[int, Standing] = {}
    toolchains = Toolchains.of(attempts)
    for row in np.flatnonzero(touched[case.release]).tolist():
        history = tried.get((*names[case.release[row]], identifiers[case.target[row]]))
        if history:
            recipe = case.recipes[case.recipe[row]]
            sha256 = hashes[row].as_py()
            result[row] = standing(history, recipe_sha256=recipe.sha256, sdist_sha256=sha256, now=case.now, toolchains=toolchains)
    return result


def _rules(case: Case, standings: Mapping[int, Standing]) -> Ints:
    """Return the number (in `RULES`) of the first rule that applies to each row."""
    facts, release = case.facts, case.release
    published, failed = np.zeros(len(release), dtype=np.bool_), np.zeros(len(release), dtype=np.bool_)
    published[[row for row, state in standings.items() if state.wheel]] = True
    failed[[row for row, state in standings.items() if state.waits]] = True
    quarantined = np.array(
        [case.statuses.get(project, ("", ""))[0] == "quarantined" for project in facts.projects], dtype=np.bool_
    )
    pre_release = np.array([version is not None and version.is_prerelease for version in case.versions], dtype=np.bool_)
    asked = np.array([recipe.prereleases for recipe in case.recipes], dtype=np.bool_)
    unbuildable = np.array([cibuildwheel_version(target.identifier) is None for target in case.targets], dtype=np.bool_)
    covered = bit(facts.covered, release, case.target)
    applies = {
        Rule.QUARANTINED: quarantined[facts.project[release]],
        Rule.SUPERSEDED: covered & published,
        Rule.COVERED: covered,
        Rule.YANKED: facts.sdist_yanked[release],
        Rule.PUBLISHED: published,
        Rule.PRE_RELEASE: pre_release[facts.version[release]] & ~asked[case.recipe],
        Rule.NO_CIBUILDWHEEL: unbuildable[case.target],
        Rule.NO_SDIST: facts.sdist[release] == NONE,
        Rule.REQUIRES_PYTHON: ~bit(facts.admitted, release, case.target),
        Rule.TOO_NEW: case.ready() > case.now_us,
        Rule.FAILED: failed,
    }
    rules = np.full(len(release), RULES.index(Rule.MISSING), dtype=np.int64)
    for rule in reversed(RULES):
        if rule in applies:
            rules[applies[rule]] = RULES.index(rule)
    return rules


def _table(case: Case, rules: Ints, standings: Mapping[int, Standing], demand: Demand) -> pa.Table:
    facts = case.facts
    covered_by = np.full(len(rules), NONE, dtype=np.int64)
    by_upstream = (rules == RULES.index(Rule.COVERED)) | (rules == RULES.index(Rule.SUPERSEDED))
    for target in np.unique(case.target[by_upstream]).tolist():
        rows = np.flatnonzero(by_upstream & (case.target == target))
        covered_by[rows] = covering_wheels(facts, target)[case.release[rows]]
    wheels = case.gather("filename", covered_by).to_pylist()
    published = np.flatnonzero(rules == RULES.index(Rule.PUBLISHED)).tolist()
    for row in published:
        wheels[row] = standings[row].wheel
    priority = np.array([recipe.priority for recipe in case.recipes], dtype=np.int64)[case.recipe]
    identifiers = [target.identifier for target in case.targets]
    named: dict[str, Sequence[str]] = {
        "identifier": [str(identifier) for identifier in identifiers],
        "python": [str(identifier.python) for identifier in identifiers],
        "platform": [identifier.platform.value for identifier in identifiers],
    }
    rank, rank_reason = _ranks(case, rules, priority, demand)
    columns: dict[str, pa.Array] = {
        "project": _taken(facts.projects, facts.project[case.release]),
        "version": _taken(facts.versions, facts.version[case.release]),
        **{name: _taken(values, case.target) for name, values in named.items()},
        "verdict": _taken([rule.verdict.value for rule in RULES], rules),
        "rule": _taken([rule.value for rule in RULES], rules),
        "reason": pa.array(reasons(case, rules, wheels, standings), pa.string()),
        "covered_by": pa.array(wheels, pa.string()),
        "sdist": case.sdist_column("filename"),
        **{f"sdist_{name}": case.sdist_column(name) for name in ("url", "sha256", "size", "requires_python", "upload_time")},
        "priority": pa.array(priority, pa.int32()),
        "rank": rank,
        "rank_reason": rank_reason,
        "expects_extension": pa.array(_expects_extension(case)),
    }
    return pa.table([columns[name] for name in MISSING_SCHEMA.names], schema=MISSING_SCHEMA)


def _taken(values: Sequence[str], indices: Ints) -> pa.Array:
    return pa.array(values, pa.string()).take(pa.array(indices))


def _ranks(case: Case, rules: Ints, priority: Ints, demand: Demand) -> tuple[pa.Array, pa.Array]:
    """Return each row's place in the order of building, and the reason of it."""
    order, why = ranked(case, np.flatnonzero(rules == RULES.index(Rule.MISSING)), priority, demand)
    rank = np.full(len(rules), NONE, dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    reasons = np.full(len(rules), "", dtype=object)
    reasons[order] = why
    return pa.array(rank, mask=rank == NONE), pa.array(reasons, pa.string())


def _expects_extension(case: Case) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether a release has a platform wheel upstream; for a release without wheels, whether any release of its project has."""
    facts = case.facts
    project = np.zeros(len(facts.projects), dtype=np.bool_)
    project[facts.project[facts.has_platform_wheel]] = True
    expects = np.where(facts.has_wheel, facts.has_platform_wheel, project[facts.project])
    return expects[case.release]
