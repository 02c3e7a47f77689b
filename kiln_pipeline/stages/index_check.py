"""Index check: hold what a place has against what was noted of it: missing, altered and unowned objects. Mends pages, no file.

It reads and hashes every object. Whether log, envelopes and provenance are what their signatures say is `stages.audit`'s matter:
here they have to be there.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.simple_index.manifest import ROOT, page_keys
from kiln_pipeline.core.site_inventory import write_inventory
from kiln_pipeline.errors import ObjectNotFound
from kiln_pipeline.ports import ObjectStore, Progress
from kiln_pipeline.stages.inventory import take_snapshot, view_page_hashes
from kiln_pipeline.stages.package_pages import MANIFEST as PEOPLE
from kiln_pipeline.stages.page_writer import UNFINISHED, read_unfinished
from kiln_pipeline.stages.targets import noted, state_key

_PARALLEL = 8
_TOGETHER = 2000


class Drift(StrEnum):
    """How an object differs from what was noted."""

    MISSING = "missing"
    ALTERED = "altered"
    UNOWNED = "unowned"


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Finding:
    """One object that is not as it was left."""

    key: str
    drift: Drift

    @property
    def is_page(self) -> bool:
        """Whether a publish can mend it."""
        return self.key in page_keys(_project(self.key))

    @property
    def is_for_people(self) -> bool:
        """Whether it is among the pages for people, which `stages.package_pages` can make anew."""
        return site_layout.is_for_people(self.key)


def check_site(
    site: ObjectStore, state: ObjectStore, *, progress: Progress, others: Mapping[str, str] | None = None
) -> tuple[Finding, ...]:
    """Compare the site with the last publish and the audit log (`stages.inventory`); return what differs, sorted by key.

    Raises `VerificationError` when the log on the site does not verify, and `StoreError` when a store cannot be read.
    """
    objects = take_snapshot(site, state, others=others).objects
    return check_objects(site, {**objects, **view_page_hashes(site, objects)}, progress=progress)


def check_target(name: str, target: ObjectStore, state: ObjectStore, *, progress: Progress) -> tuple[Finding, ...]:
    """Compare a replica with the note of what it has; everything in it is unowned when there is none, or it was moved."""
    return check_objects(target, noted(name, str(target), state), progress=progress)


def check_objects(
    store: ObjectStore, expected: Mapping[str, str], *, progress: Progress, parallel: int = _PARALLEL
) -> tuple[Finding, ...]:
    """Compare a store with an inventory, which maps keys to a sha256, or to nothing when being there is enough."""
    found = set(store.keys())
    findings = [Finding(key=key, drift=Drift.MISSING) for key in expected.keys() - found]
    findings += [
        Finding(key=key, drift=Drift.UNOWNED) for key in found - expected.keys() if not _of_an_earlier_log(key, expected)
    ]
    hashed = sorted(key for key in found if expected.get(key))
    with ThreadPoolExecutor(parallel) as pool:
        for start in range(0, len(hashed), _TOGETHER):
            progress.step(f"index check: {start} of {len(hashed)} objects read, {len(findings)} differences")
            keys = hashed[start : start + _TOGETHER]
            for key, sha256 in zip(keys, pool.map(partial(_sha256, store), keys), strict=True):
                if sha256 != expected[key]:
                    findings.append(Finding(key=key, drift=Drift.ALTERED if sha256 else Drift.MISSING))
    return tuple(sorted(findings))


def mend_pages(findings: Sequence[Finding], state: ObjectStore) -> tuple[str, ...]:
    """Have the next publish write the pages of `findings` anew, or remove those that nobody owns; return their projects, sorted.

    Nothing is written to the site here, and no wheel, log or signature is ever mended: those come back from a backup.
    """
    projects = sorted({_project(finding.key) for finding in findings if finding.is_page})
    if projects:
        # what an unfinished publish has noted stays noted
        unfinished = read_unfinished(state) or []
        state.put(UNFINISHED, json.dumps([*dict.fromkeys([*unfinished, *projects])]).encode())
    return tuple(project for project in projects if project != ROOT)


def mend_for_people(findings: Sequence[Finding], site: ObjectStore, state: ObjectStore) -> bool:
    """Remove what nobody owns among the pages for people; when one is missing or altered, have the next run write all of them.

    Returns whether there was anything to mend.
    """
    own = [finding for finding in findings if finding.is_for_people]
    for finding in own:
        if finding.drift is Drift.UNOWNED:
            site.delete(finding.key)
        else:
            state.delete(PEOPLE)
    return bool(own)


def mend_target(name: str, target: ObjectStore, findings: Iterable[Finding], state: ObjectStore) -> int:
    """Have the next replication write what is missing or altered in a replica; return how many objects that is.

    An altered file that was published once is not overwritten by it either: it says so.
    """
    known = noted(name, str(target), state)
    gone = [finding.key for finding in findings if finding.key in known]
    if gone:
        kept = {key: sha256 for key, sha256 in known.items() if key not in gone}
        state.put(state_key(name), write_inventory(kept, str(target)))
    return len(gone)


def _project(key: str) -> str:
    """Return the project of a key below ``simple/``, or `ROOT`."""
    parts = key.split("/")
    return parts[1] if len(parts) > 2 else ROOT


def _of_an_earlier_log(key: str, expected: Mapping[str, str]) -> bool:
    """Return whether `key` is a partial tile that earlier checkpoints need, and that goes when its tile is full."""
    tile, partial_tile, _ = key.partition(".p/")
    return bool(partial_tile) and key.startswith("audit/tile/") and any(name.startswith(f"{tile}.p/") for name in expected)


def _sha256(store: ObjectStore, key: str) -> str:
    """Return the sha256 of an object, empty when it has gone since it was listed."""
    digest = hashlib.sha256()
    try:
        for chunk in store.chunks(key):
            digest.update(chunk)
        return digest.hexdigest()
    except ObjectNotFound:
        return ""
