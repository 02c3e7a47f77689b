"""Requirements: read what the wanted releases of tracked projects pin, from their core metadata, each once.

The table is one Parquet object in the state. A core metadata file never changes under its hash, so what was read is not asked for
again; a file that cannot be read stops no other and is asked for the next time.
"""

# pyarrow ships no annotations: what comes out of it is unknown to the checker, and known to the tests.
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from kiln_pipeline.core import requires_dist
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.requires_dist import PINS_SCHEMA, Pins
from kiln_pipeline.errors import UpstreamError
from kiln_pipeline.ports import ObjectStore, Progress, UpstreamIndex
from kiln_pipeline.stages.tables import load_table, table_bytes

PINS = "requires_dist.parquet"
_AT_ONCE = 2_000
"""Core metadata files that one call fetches; the rest is for the next calls, so that a new tracked project delays no refresh."""

_OUTAGE = 8
"""So many failures in one call, and the rest is not asked: what demand says can wait."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RequirementsReport:
    """What one call did."""

    known: int
    """Releases whose pins are known now."""
    fetched: int
    broken: int
    left: int
    """Releases that the next calls will ask for."""


def load_requirements(state: ObjectStore) -> dict[Release, Pins]:
    """Return what each release pins that was read so far. Raises `StoreError`."""
    return requires_dist.pins_of(load_table(state, PINS, PINS_SCHEMA))


def refresh_requirements(
    recipes: Sequence[Recipe],
    files: pa.Table,
    *,
    upstream: UpstreamIndex,
    state: ObjectStore,
    progress: Progress,
    workers: int = 8,
    at_once: int = _AT_ONCE,
) -> RequirementsReport:
    """Fetch the core metadata of every wanted release that has one upstream and is not known yet, at most `at_once`.

    `files` has `release_metadata.SCHEMA`. Releases that are not wanted any more are forgotten. Raises `StoreError`.
    """
    wanted = requires_dist.wheels_with_metadata(files, recipes)
    before = load_requirements(state)
    known = {r: before[r] for r, file in wanted.items() if r in before and before[r].source == requires_dist.source_of(file)}
    new = sorted(release for release in wanted if release not in known)
    if new:
        progress.step(f"reading the requirements of {min(len(new), at_once):,} releases")

    failures: list[str] = []

    def read(release: Release) -> Pins | None:
        file = wanted[release]
        if len(failures) >= _OUTAGE:
            return None
        try:
            pinned = requires_dist.pinned_releases(upstream.core_metadata(file))
        except UpstreamError as error:
            failures.append(str(error))
            return None
        return Pins(source=requires_dist.source_of(file), releases=pinned)

    asked = new[:at_once]
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="upstream") as executor:
        answers = dict(zip(asked, executor.map(read, asked), strict=True))
    found = known | {release: pins for release, pins in answers.items() if pins is not None}
    if found != before:
        state.put(PINS, table_bytes(requires_dist.pins_table(found)))
    broken = sum(pins is None for pins in answers.values())
    if broken:
        progress.step(f"the requirements of {broken:,} releases are asked for the next time: {failures[0]}")
    return RequirementsReport(known=len(found), fetched=len(answers) - broken, broken=broken, left=len(new) - len(asked))
