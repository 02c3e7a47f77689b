"""A reader of a site who looks at it between any two operations of its publishers, and what he is promised at every moment."""

import hashlib
import json
import re
from functools import lru_cache
from urllib.parse import unquote

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey, open_checkpoint
from kiln_pipeline.core.audit_log.entries import LogEntry, parse_any_entry
from kiln_pipeline.core.audit_log.merkle import tree_root
from kiln_pipeline.core.audit_log.tiles import TileReader
from kiln_pipeline.ports import ObjectStore
from kiln_pipeline_tests.audit_samples import LOG


class Reader:
    """Looks at `site` whenever `look` is called; an AssertionError tells which promise was broken."""

    def __init__(self, site: ObjectStore) -> None:
        self.site = site
        self.looks = 0
        self._files: dict[str, str] = {}
        self._newest: TileReader | None = None
        self._note = b""

    def look(self, changed: str = "") -> None:
        """Check what `changed` can have broken; everything without it."""
        self.looks += 1
        if changed.startswith("wheels/"):
            self._check_immutable(changed)
        if changed == site_layout.CHECKPOINT or (not changed and self.site.exists(site_layout.CHECKPOINT)):
            self._check_log()
        if changed.startswith(("simple/", "wheels/", "audit/")) or not changed:
            self._check_pages()

    def _check_immutable(self, key: str) -> None:
        digest = _sha256(self.site.get(key))  # and a published file never goes
        assert self._files.setdefault(key, digest) == digest, f"{key} has other bytes now"

    def _check_log(self) -> None:
        """Each checkpoint is over a tree that is there and whole, and one of two continues the other.

        An older one after a newer one is what any cache shows: he keeps the newest that he has seen.
        """
        note = self.site.get(site_layout.CHECKPOINT)
        reader, newest = _log(self.site, note), self._newest
        older, newer = sorted((reader, newest), key=lambda log: log.size) if newest else (reader, reader)
        assert tree_root(older.size, newer.node) == older.root, "the log was forked"
        if newer is reader:
            self._newest, self._note = reader, note

    def _check_pages(self) -> None:
        pages = {key: self.site.get(key) for key in self.site.keys("simple/")}
        wheels = {wheel for key, page in pages.items() if key.count("/") == 2 for wheel in _wheels(page)}
        for filename, sha256, metadata in wheels:
            assert _sha256(self.site.get(site_layout.wheel(filename))) == sha256, f"a page states another hash of {filename}"
            assert _sha256(self.site.get(site_layout.wheel_metadata(filename))) == metadata
            assert self.site.exists(site_layout.wheel_provenance(filename))
        if wheels:
            logged = _logged(self.site, self._note)
            assert {sha256 for _, sha256, _ in wheels} <= logged, "a page names a wheel that the log does not have"
        for root, page in ((site_layout.SIMPLE_ROOT_JSON, "json"), (site_layout.SIMPLE_ROOT_HTML, "html")):
            for project in _projects(pages.get(root, b"")):
                assert f"simple/{project}/index.{page}" in pages, f"the root names {project}, which has no page"


def _logged(site: ObjectStore, note: bytes) -> frozenset[str]:
    assert note, "a page names wheels, and there is no log"
    tiles = tuple((key, site.get(key)) for key in site.keys("audit/tile/"))
    return _wheels_of_log(note, tiles)


@lru_cache(maxsize=4096)
def _wheels_of_log(note: bytes, tiles: tuple[tuple[str, bytes], ...]) -> frozenset[str]:
    found = dict(tiles)
    checkpoint = open_checkpoint(note, VerifierKey.of(LOG))
    reader = TileReader(checkpoint.size, checkpoint.root, lambda key: found[key])
    entries = [parse_any_entry(entry) for entry in reader.entries(0, reader.size)]
    return frozenset(entry.wheel for entry in entries if isinstance(entry, LogEntry) and entry.wheel)


def _log(site: ObjectStore, note: bytes) -> TileReader:
    checkpoint = open_checkpoint(note, VerifierKey.of(LOG))
    reader = TileReader(checkpoint.size, checkpoint.root, site.get)
    assert len(list(reader.entries(0, reader.size))) == reader.size
    return reader


@lru_cache(maxsize=4096)
def _wheels(page: bytes) -> tuple[tuple[str, str, str], ...]:
    """Return (filename, sha256, sha256 of its core metadata) of each wheel of ours that a page names."""
    if page.startswith(b"<"):
        links = re.findall(r'href="\.\./\.\./wheels/([^"#]+)#sha256=(\w+)"[^>]* data-core-metadata="sha256=(\w+)"', page.decode())
        assert len(links) == page.count(b"../../wheels/")
        return tuple((unquote(name), sha256, metadata) for name, sha256, metadata in links)
    return tuple(
        (file["filename"], file["hashes"]["sha256"], file["core-metadata"]["sha256"])
        for file in json.loads(page).get("files", ())
        if file["url"].startswith("../../")
    )


@lru_cache(maxsize=4096)
def _projects(root: bytes) -> tuple[str, ...]:
    if root.startswith(b"<"):
        return tuple(re.findall(r'href="([^"]+)/"', root.decode()))
    return tuple(project["name"] for project in json.loads(root)["projects"]) if root else ()


@lru_cache(maxsize=4096)
def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
