"""What the releases of tracked projects pin: ``==`` in their core metadata's Requires-Dist. Nothing is fetched here.

One row per release whose core metadata was read, sorted; `source` identifies what was read, so that nothing is read twice.
"""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from kiln_pipeline.core.distributions import DistributionFile, FileKind, Release, project_name
from kiln_pipeline.core.recipes import Recipe

PINS_SCHEMA = pa.schema(
    [
        pa.field("project", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("pins", pa.list_(pa.string()), nullable=False),
    ]
)
"""`source` is the core metadata's sha256, or the wheel's filename where upstream states none; `pins` are releases."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pins:
    """What one release pins, whatever the marker or extra that it is for."""

    source: str
    releases: tuple[Release, ...]


def wheels_with_metadata(files: pa.Table, recipes: Sequence[Recipe]) -> dict[Release, DistributionFile]:
    """Return the first file with core metadata of every release that the recipes want and upstream has such a file of."""
    names = ["filename", "url", "sha256", "size", "core_metadata"]
    stated = files.filter(pc.not_equal(files.column("core_metadata"), "")).select(["project", "version", *names])
    firsts = stated.group_by(["project", "version"], use_threads=False).aggregate([(name, "first") for name in names])
    by_project = {recipe.project: recipe for recipe in recipes}
    found: dict[Release, DistributionFile] = {}
    for row in firsts.to_pylist():
        recipe = by_project.get(row["project"])
        if recipe is not None and recipe.wants(Version(row["version"])):
            found[Release(project=row["project"], version=row["version"])] = DistributionFile(
                kind=FileKind.WHEEL, version=row["version"], **{name: row[f"{name}_first"] for name in names}
            )
    return found


def source_of(file: DistributionFile) -> str:
    """Return what identifies a file's core metadata."""
    return file.filename if file.core_metadata == "true" else file.core_metadata


def requirements(metadata: bytes) -> tuple[Requirement, ...]:
    """Return the Requires-Dist of a core metadata file. What is no requirement is passed over, as installers do."""
    raw, _ = parse_email(metadata)
    found: list[Requirement] = []
    for text in raw.get("requires_dist", []):
        with suppress(InvalidRequirement):
            found.append(Requirement(text))
    return tuple(found)


def pinned_releases(metadata: bytes) -> tuple[Release, ...]:
    """Return the releases that a core metadata file pins, sorted."""
    releases: set[Release] = set()
    for requirement in requirements(metadata):
        try:
            clauses = list(requirement.specifier)
            if len(clauses) == 1 and clauses[0].operator == "==" and not clauses[0].version.endswith(".*"):
                releases.add(Release(project=project_name(requirement.name), version=str(Version(clauses[0].version))))
        except (InvalidVersion, ValueError):
            continue
    return tuple(sorted(releases))


def pins_table(pins: Mapping[Release, Pins]) -> pa.Table:
    """Return the table of `pins`."""
    rows = [
        {"project": r.project, "version": r.version, "source": p.source, "pins": [str(release) for release in p.releases]}
        for r, p in sorted(pins.items())
    ]
    return pa.Table.from_pylist(rows, schema=PINS_SCHEMA)


def pins_of(table: pa.Table) -> dict[Release, Pins]:
    """Return what `pins_table` made a table of."""
    return {
        Release(project=row["project"], version=row["version"]): Pins(
            source=row["source"], releases=tuple(Release.parse(text) for text in row["pins"])
        )
        for row in table.to_pylist()
    }
