"""The writing half of a publish: what differs of the simple index goes to the site, in the order that keeps every promise.

What is about to be touched is noted in the state first, so that the next publish does not trust the manifest about it. What is
on a page is `stages.publish`' matter.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from kiln_pipeline.core.provenance.dsse import sign_envelope
from kiln_pipeline.core.provenance.page_statement import page_statement
from kiln_pipeline.core.simple_index import manifest, render
from kiln_pipeline.core.simple_index.manifest import ROOT, UNKNOWN, Entry, page_keys
from kiln_pipeline.core.simple_index.model import IndexFile
from kiln_pipeline.errors import ObjectNotFound, StoreError
from kiln_pipeline.ports import ObjectStore, Signer

UNFINISHED = "site_publish_unfinished.json"
"""Key in the state: the projects that a publish which has not finished was about to write or remove."""
_TOGETHER = 3000
"""Objects that are written at one go: the pages of some thousand projects are in memory at one time, not those of all."""


def last_publish(site: ObjectStore, state: ObjectStore) -> dict[str, Entry]:
    """Return what the last publish left; `UNKNOWN` for what an unfinished one may have touched, or nobody has noted."""
    try:
        entries = manifest.read_manifest(state.get(manifest.KEY))
    except ObjectNotFound:
        # the first publish, or a lost state: whatever pages there are, they are ours to write anew or to remove
        found = (key.split("/") for key in site.keys("simple/"))
        entries = {parts[1]: UNKNOWN for parts in found if len(parts) == 3}
    touched = read_unfinished(state)
    return entries if touched is None else entries | dict.fromkeys([*touched, ROOT], UNKNOWN)


def read_unfinished(state: ObjectStore) -> list[str] | None:
    """Return the projects that a publish which has not finished may have touched; None when the last one has finished."""
    try:
        touched: list[str] = json.loads(state.get(UNFINISHED))
    except ObjectNotFound:
        return None
    except ValueError as error:
        hint = f"delete it and {manifest.KEY}: the next publish then writes every page anew"
        raise StoreError(key=UNFINISHED, reason=f"it is no JSON: {error}", hint=hint) from error
    return touched


@dataclass(frozen=True, kw_only=True, slots=True)
class Pages:
    """The rendered pages of one project, and the wheels of ours that they name."""

    project: str
    html: bytes
    json: bytes
    own: tuple[IndexFile, ...]


class PageWriter:
    """The writing half of one publish. The legal order: `write`, `write_root`, `remove`, `finish`."""

    def __init__(
        self, *, before: Mapping[str, Entry], touched: Sequence[str], site: ObjectStore, state: ObjectStore, signer: Signer
    ) -> None:
        self.written: list[str] = []
        self.root_written = False
        self._before, self._entries, self._touched = before, dict(before), touched
        self._site, self._state, self._signer = site, state, signer
        self._begun = False
        self._pending: list[tuple[str, bytes]] = []
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="pages")
        self._writing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the thread that writes; what it has begun ends first."""
        self._writer.shutdown()

    def write(self, pages: Pages, inputs: bytes) -> None:
        """Write what differs of a project's pages, and then their attestation."""
        statement = page_statement(pages.project, {"index.html": pages.html, "index.json": pages.json})
        attestation = sign_envelope(statement, [self._signer])
        if self._put(pages.project, inputs, pages.html, pages.json, attestation):
            self.written.append(pages.project)

    def write_root(self, tracked: Collection[str]) -> None:
        """Write the root index over those tracked projects that have pages."""
        self._flush()
        projects = sorted(project for project in set(tracked) if self._has_pages(project))
        inputs = hashlib.sha256("\n".join([render.fingerprint(), *projects]).encode()).digest()
        if self._entries.get(ROOT, UNKNOWN).inputs != inputs:
            self.root_written = self._put(ROOT, inputs, render.root_html(projects), render.root_json(projects))
            self._flush()

    def remove(self, project: str) -> None:
        """Remove the pages of a project that the root no longer names."""
        self._begin()
        for key in page_keys(project):
            self._site.delete(key)
        del self._entries[project]

    def finish(self) -> None:
        """Note what is in the site now; nothing to do when nothing differs."""
        if self._entries != self._before:
            self._state.put(manifest.KEY, manifest.write_manifest(self._entries))
        if self._begun or self._state.exists(UNFINISHED):
            self._state.delete(UNFINISHED)

    def _put(self, project: str, inputs: bytes, *contents: bytes) -> bool:
        """Write those of HTML, JSON and attestation that differ from what was written before; return whether any did."""
        old, new = self._entries.get(project, UNKNOWN), Entry.of(inputs, *contents)
        keyed = zip(page_keys(project), contents, old[1:], new[1:], strict=False)  # the root has no attestation
        differing = [(key, data) for key, data, was, now in keyed if was != now]
        if differing:
            self._begin()
        self._pending += differing
        self._entries[project] = new
        if len(self._pending) >= _TOGETHER:
            self._write_pending()
        return bool(differing)

    def _write_pending(self) -> None:
        """Begin to write what is pending, while the next pages are made; wait for those before it first."""
        self._wait()
        pending, self._pending = self._pending, []
        if pending:
            self._writing = self._writer.submit(self._site.put_many, pending)

    def _wait(self) -> None:
        """Wait until everything that was begun is there. Raises `StoreError` when it could not be written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _flush(self) -> None:
        self._write_pending()
        self._wait()

    def _has_pages(self, project: str) -> bool:
        entry = self._entries.get(project)
        if entry is None:
            return False
        # a publish that was cut off wrote both, one or none of them
        return entry.inputs != UNKNOWN.inputs or all(self._site.exists(key) for key in page_keys(project)[:2])

    def _begin(self) -> None:
        """Note what this publish may touch, once, before it touches anything."""
        if not self._begun:
            self._state.put(UNFINISHED, json.dumps([*self._touched]).encode())
            self._begun = True
