"""What the site should hold just now: the inventory of the last publish and of the audit log, in one snapshot. Writes nothing."""

import hashlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey, open_checkpoint
from kiln_pipeline.core.audit_log.entries import LegacyEntry, parse_any_entry
from kiln_pipeline.core.audit_log.tiles import TileReader
from kiln_pipeline.core.provenance.dsse import unverified_payload
from kiln_pipeline.core.provenance.page_statement import read_page_statement
from kiln_pipeline.core.simple_index import manifest
from kiln_pipeline.core.site_inventory import attempt_objects, log_objects, rebuild_objects
from kiln_pipeline.errors import ObjectNotFound, StoreError, VerificationError
from kiln_pipeline.ports import ObjectStore
from kiln_pipeline.stages.dated_views import noted_views, read_published
from kiln_pipeline.stages.log_tables import load_attempts, load_rebuilds
from kiln_pipeline.stages.mirror import load_copies
from kiln_pipeline.stages.package_pages import noted_objects


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The inventory of the site at one moment."""

    objects: Mapping[str, str]
    """Key -> lower-case hex sha256, or empty (see `core.site_inventory`)."""
    attempts: tuple[Attempt, ...] = ()
    """What the log has, up to the checkpoint; empty when there is no log yet."""
    checkpoint: bytes = b""
    """The signed note, and the key that signed it; both empty when there is no log yet."""
    log_key: bytes = b""


def take_snapshot(site: ObjectStore, state: ObjectStore, *, others: Mapping[str, str] | None = None) -> Snapshot:
    """Return what `site` should hold.

    `others` is the inventory of what neither the index nor the log owns, the pages for people; without it these are what
    `stages.package_pages` has noted.

    Raises `VerificationError` when the log on the site does not verify against its own key, and `StoreError`.
    """
    objects = {**_pages(state), **_views(site, state), **(_for_people(site, state) if others is None else others)}
    for copy in load_copies(state, site):
        objects |= copy.objects
    try:
        note = site.get(site_layout.CHECKPOINT)
    except ObjectNotFound:
        return Snapshot(objects=objects)
    log_key = site.get(site_layout.LOG_KEY)
    checkpoint = open_checkpoint(note, VerifierKey.parse(log_key.decode("utf-8", "replace")))
    attempts = tuple(attempt for attempt in load_attempts(state, site) if attempt.index < checkpoint.size)
    rebuilds = tuple(rebuild for rebuild in load_rebuilds(state, site) if rebuild.index < checkpoint.size)
    objects |= attempt_objects(attempts) | rebuild_objects(rebuilds) | log_objects(checkpoint.size)
    ours = {item.index for item in (*attempts, *rebuilds)}
    objects |= _legacy_logs(TileReader(checkpoint.size, checkpoint.root, site.get), ours)
    objects[site_layout.CHECKPOINT] = hashlib.sha256(note).hexdigest()
    objects[site_layout.LOG_KEY] = hashlib.sha256(log_key).hexdigest()
    return Snapshot(objects=objects, attempts=attempts, checkpoint=note, log_key=log_key)


def view_page_hashes(site: ObjectStore, objects: Mapping[str, str]) -> dict[str, str]:
    """Return key -> sha256 of the pages of dated views among `objects`, as their attestations say, each of which is read.

    What such an attestation is, its own hash tells; one that is missing or altered says nothing here.
    """
    hashes: dict[str, str] = {}
    for key, digest in objects.items():
        if digest and key.startswith("simple@") and key.endswith("/attestation.json"):
            with suppress(ObjectNotFound, VerificationError):
                statement = read_page_statement(unverified_payload(site.get(key)))
                hashes |= {key.replace("attestation.json", name): sha256 for name, sha256 in statement.pages.items()}
    return hashes


def _views(site: ObjectStore, state: ObjectStore) -> dict[str, str]:
    """Return the inventory of all dated views; their pages are covered by the attestations, whose hashes the manifests name."""
    objects: dict[str, str] = {}
    days = noted_views(site, state).days
    for day in sorted(days):
        with suppress(StoreError, VerificationError):  # it is missing or altered, as its hash below tells
            view = read_published(site, day)
            objects |= dict.fromkeys(view.keys(), "")
            objects |= {site_layout.page_state(digest, name, "attestation.json"): digest for name, digest in view.pages.items()}
    return objects | {site_layout.view_manifest(day): sha256 for day, sha256 in days.items()}


def _pages(state: ObjectStore) -> dict[str, str]:
    try:
        return manifest.expected_objects(manifest.read_manifest(state.get(manifest.KEY)))
    except ObjectNotFound:
        return {}


def _for_people(site: ObjectStore, state: ObjectStore) -> dict[str, str]:
    objects = noted_objects(state)
    with suppress(ObjectNotFound):
        objects[site_layout.AUDIT_README] = hashlib.sha256(site.get(site_layout.AUDIT_README)).hexdigest()
    return objects


def _legacy_logs(reader: TileReader, ours: Collection[int]) -> dict[str, str]:
    """Return the logs of the entries that are not `ours`; only the bundles that have such entries are read."""
    objects: dict[str, str] = {}
    for index in range(reader.size):
        if index not in ours:
            (data,) = reader.entries(index, index + 1)
            entry = parse_any_entry(data)
            if isinstance(entry, LegacyEntry):
                objects[site_layout.build_log(entry.log)] = entry.log
    return objects
