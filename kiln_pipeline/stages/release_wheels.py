"""Release wheels: put every wheel that the log has onto a page of releases, each under its own filename as the tag.

A wheel is released with its core metadata and its provenance beside it, all at once for those who look. What is released never
changes and never goes; a page that cannot be reached gets the rest in the next run.
"""

import hashlib
from collections.abc import Callable

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.site_inventory import write_inventory
from kiln_pipeline.errors import KilnError, ObjectExists, StoreError
from kiln_pipeline.ports import ObjectStore, ReleasePage
from kiln_pipeline.stages.inventory import Snapshot
from kiln_pipeline.stages.targets import TargetReport, noted, state_key

_NOTED = 20
"""Releases after which what was released is noted."""


def release_wheels(
    name: str,
    page: ReleasePage,
    snapshot: Snapshot,
    *,
    site: ObjectStore,
    state: ObjectStore,
    keep_going: Callable[[], bool] = lambda: True,
) -> TargetReport:
    """Release the wheels of `snapshot` that the page, the target `name`, lacks, oldest entry first. Raises nothing of its own."""
    has = noted(name, str(page), state)
    lacking = [attempt for attempt in snapshot.attempts if attempt.wheel and has.get(attempt.wheel) != attempt.wheel_sha256]
    problem, copied, size = "", 0, 0
    for number, attempt in enumerate(lacking):
        if not keep_going():
            break
        try:
            files = _files(attempt, site)
            page.publish(attempt.wheel, files, _notes(attempt))
        except ObjectExists as error:  # of this wheel alone: the others go on
            problem = problem or str(error)
            continue
        except KilnError as error:
            problem = str(error)
            break
        has[attempt.wheel] = attempt.wheel_sha256
        copied, size = copied + 1, size + sum(map(len, files.values()))
        if number % _NOTED == _NOTED - 1:
            state.put(state_key(name), write_inventory(has, str(page)))
    if copied:
        state.put(state_key(name), write_inventory(has, str(page)))
    return TargetReport(name=name, copied=copied, copied_bytes=size, left=len(lacking) - copied, problem=problem)


def _files(attempt: Attempt, site: ObjectStore) -> dict[str, bytes]:
    """Return the files of a release, the wheel last."""
    wheel = site.get(site_layout.wheel(attempt.wheel))
    if hashlib.sha256(wheel).hexdigest() != attempt.wheel_sha256:
        hint = "`kiln index check` tells what is wrong"
        raise StoreError(key=site_layout.wheel(attempt.wheel), reason="the site has other bytes than the log states", hint=hint)
    return {
        f"{attempt.wheel}.metadata": site.get(site_layout.wheel_metadata(attempt.wheel)),
        f"{attempt.wheel}.provenance.json": site.get(site_layout.wheel_provenance(attempt.wheel)),
        attempt.wheel: wheel,
    }


def _notes(attempt: Attempt) -> str:
    return (
        f"{attempt.release} for {attempt.identifier}, entry {attempt.index} of the audit log.\n\n"
        f"- wheel: `sha256:{attempt.wheel_sha256}`\n"
        f"- built from the sdist: `sha256:{attempt.sdist_sha256}`\n\n"
        f"`kiln verify --offline {attempt.wheel}` checks it against the `.provenance.json` beside it.\n"
    )
