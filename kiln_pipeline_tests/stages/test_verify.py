"""Verification: a published wheel tells its story; one flipped byte anywhere, and it is refused."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey, sign_checkpoint
from kiln_pipeline.core.audit_log.entries import parse_entry, render_entry
from kiln_pipeline.core.audit_log.tiles import ENTRIES, tile_key
from kiln_pipeline.core.provenance.dsse import sign_envelope
from kiln_pipeline.core.provenance.page_statement import page_statement
from kiln_pipeline.core.simple_index.model import IndexFile, IndexPage
from kiln_pipeline.core.simple_index.render import project_html, project_json
from kiln_pipeline.core.strict_json import canonical, parse_canonical
from kiln_pipeline.errors import ObjectNotFound, VerificationError
from kiln_pipeline.stages.record import record
from kiln_pipeline.stages.verify import compare_index_with_log, verify_offline, verify_wheel
from kiln_pipeline_tests.audit_samples import (
    FAILURE,
    HOSTS,
    LOG,
    Silent,
    put_bundle,
    sample_bundle,
    sample_plan,
    sdist_bytes,
)
from kiln_pipeline_tests.fakes import MemorySigner, MemoryStore

KEY = str(VerifierKey.of(LOG))
BULK = 262
"""Entries before the last ones: enough for a full tile, a partial one, and a tile above them."""


def publish(site: MemoryStore, attempts: tuple[Attempt, ...], project: str = "wrapt") -> None:
    """The project's pages over its wheels, with their attestation."""
    files = tuple(
        IndexFile(
            filename=attempt.wheel,
            url=f"../../wheels/{attempt.wheel}",
            sha256=attempt.wheel_sha256,
            size=attempt.wheel_size,
            core_metadata=attempt.metadata_sha256,
        )
        for attempt in attempts
        if attempt.wheel
    )
    page = IndexPage(project=project, files=files, versions=("1.14.0",))
    pages = {"index.html": project_html(page), "index.json": project_json(page)}
    for name, data in pages.items():
        site.put(f"simple/{project}/{name}", data)
    site.put(site_layout.project_attestation(project), sign_envelope(page_statement(project, pages), [LOG]))


def small_site(bulk: int) -> tuple[MemoryStore, Attempt]:
    """A published site with some failures before the wheel and more entries after its first checkpoint."""
    inbox, site, state = MemoryStore(), MemoryStore(), MemoryStore()

    def run() -> tuple[Attempt, ...]:
        return record(
            inbox=inbox, site=site, state=state, log_signer=LOG, hosts=HOSTS, recipes=None, progress=Silent()
        ).recorded  # fmt: skip

    for minute in range(bulk):
        put_bundle(inbox, sample_bundle(sample_plan(), failure=FAILURE, minutes=minute))
    put_bundle(inbox, sample_bundle(sample_plan(), minutes=bulk))
    attempts = run()
    for minute in range(3):
        put_bundle(inbox, sample_bundle(sample_plan(python="cp310"), failure=FAILURE, minutes=bulk + minute + 1))
    run()
    publish(site, attempts)
    return site, attempts[-1]


@pytest.fixture(scope="module")
def published() -> tuple[dict[str, bytes], Attempt]:
    site, attempt = small_site(bulk=BULK)
    return site.objects, attempt


class Fetcher:
    """Serves objects and notes which were asked for, and how many bytes that were."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.fetched: dict[str, int] = {}

    def __call__(self, key: str) -> bytes:
        if key not in self.objects:
            raise ObjectNotFound(key)
        self.fetched[key] = len(self.objects[key])
        return self.objects[key]


def sdist(url: str) -> bytes:
    assert url == "https://files.example.org/wrapt-1.14.0.tar.gz"
    return sdist_bytes("wrapt", "1.14.0")


def verify(objects: dict[str, bytes], name: str, *, key: str = KEY, fetch_sdist: Callable[[str], bytes] | None = sdist):
    fetcher = Fetcher(objects)
    data = objects[site_layout.wheel(name)]
    return verify_wheel(data, name, fetch=fetcher, log_key=key, sdist_fetch=fetch_sdist), fetcher


def test_the_story(published: tuple[dict[str, bytes], Attempt]):
    """From the wheel back to the checkpoint, in the order in which one would tell it."""
    objects, attempt = published
    verification, _ = verify(objects, attempt.wheel)
    assert verification.index == BULK
    assert [check for check, _ in verification.story] == [
        "wheel", "statement", "sdist", "recipe", "host", "built with", "requirements", "build log", "log entry", "checkpoint",
        "rebuilds",
        "page",
    ]  # fmt: skip
    facts = dict(verification.story)
    assert facts["wheel"] == f"wrapt-1.14.0-1-cp311-cp311-macosx_11_0_arm64.whl, sha256 {attempt.wheel_sha256}"
    assert facts["statement"].startswith("wrapt==1.14.0 for cp311-macosx_arm64")
    assert "fetched: the bytes that were built from" in facts["sdist"]
    assert facts["host"].startswith("mac-mini-1 with cibuildwheel, 2026-11-01T16:23:15.250000Z")
    assert facts["log entry"] == f"number {BULK}, countersigned by kiln.invalid/test"
    assert facts["checkpoint"].startswith(f"kiln.invalid/test with {BULK + 4} entries")
    without = verify(objects, attempt.wheel, fetch_sdist=None)[0]
    assert "not fetched" in dict(without.story)["sdist"]


def test_offline(published: tuple[dict[str, bytes], Attempt]):
    """The wheel and the file beside it are enough for all but the site's present state."""
    objects, attempt = published
    wheel, provenance = (objects[key(attempt.wheel)] for key in (site_layout.wheel, site_layout.wheel_provenance))
    verification = verify_offline(wheel, attempt.wheel, provenance, log_key=KEY)
    assert dict(verification.story)["checkpoint"].startswith(f"kiln.invalid/test with {BULK + 1} entries")
    with pytest.raises(VerificationError):
        verify_offline(wheel, attempt.wheel, provenance, log_key=str(VerifierKey.of(MemorySigner(LOG.name + "x"))))


def test_a_verification_fetches_little(published: tuple[dict[str, bytes], Attempt]):
    """Under 100 kB of the log with a full tile and bundle: what is fetched is a handful of objects, never the whole log."""
    objects, attempt = published
    fetched = verify(objects, attempt.wheel)[1].fetched
    assert sum(fetched.values()) < 100_000
    full = sum(len(objects[key]) for key in (tile_key(ENTRIES, 0), tile_key(0, 0)))
    assert 50_000 < full < 70_000
    assert sorted(key.split("/")[0] for key in fetched) == ["audit"] * 6 + ["simple"] * 3 + ["wheels"] * 2


def test_every_flipped_byte_is_refused():
    """In the wheel and in each object that a verification fetches: no byte is outside of it."""
    site, attempt = small_site(bulk=3)
    objects = site.objects
    fetched = [*verify(objects, attempt.wheel)[1].fetched, site_layout.wheel(attempt.wheel)]
    assert len(fetched) == 11
    for key in fetched:
        data = objects[key]
        for position in range(0, len(data), max(1, len(data) // 40)):
            altered = bytearray(data)
            altered[position] ^= 1 << (position % 8)
            with pytest.raises(VerificationError):
                verify({**objects, key: bytes(altered)}, attempt.wheel)


@pytest.mark.slow
def test_every_flipped_byte_of_a_larger_site_is_refused(published: tuple[dict[str, bytes], Attempt]):
    """Each single byte, with full tiles in play."""
    objects, attempt = published
    for key in [*verify(objects, attempt.wheel)[1].fetched, site_layout.wheel(attempt.wheel)]:
        data = objects[key]
        for position in range(len(data)):
            altered = bytearray(data)
            altered[position] ^= 1 << (position % 8)
            with pytest.raises(VerificationError):
                verify({**objects, key: bytes(altered)}, attempt.wheel)


def test_truncated_longer_and_missing_objects_are_refused(published: tuple[dict[str, bytes], Attempt]):
    objects, attempt = published
    for key in verify(objects, attempt.wheel)[1].fetched:
        for changed in (objects[key][:-1], objects[key] + b"\n", b""):
            with pytest.raises(VerificationError):
                verify({**objects, key: changed}, attempt.wheel)
        with pytest.raises(VerificationError, match="missing"):
            verify({name: data for name, data in objects.items() if name != key}, attempt.wheel)


def test_another_sdist_is_refused(published: tuple[dict[str, bytes], Attempt]):
    """Upstream's bytes are compared, not only its word."""
    objects, attempt = published
    with pytest.raises(VerificationError, match="not the sdist"):
        verify(objects, attempt.wheel, fetch_sdist=lambda url: b"other")

    def gone(url: str) -> bytes:
        raise ObjectNotFound(url)

    with pytest.raises(VerificationError, match="missing"):
        verify(objects, attempt.wheel, fetch_sdist=gone)


def test_another_key_is_refused(published: tuple[dict[str, bytes], Attempt]):
    """A site that is whole in itself, but by a key that the reader has not pinned."""
    objects, attempt = published
    for key in (str(VerifierKey.of(MemorySigner("kiln.invalid/other"))), "", "nonsense", KEY[:-1]):
        with pytest.raises(VerificationError):
            verify(objects, attempt.wheel, key=key)


def test_a_log_that_was_rolled_back_or_rewritten_is_refused(published: tuple[dict[str, bytes], Attempt]):
    """An older checkpoint by the right key, and one over other entries."""
    objects, attempt = published
    other, _ = small_site(bulk=2)
    audit = {key: data for key, data in other.objects.items() if key.startswith("audit/tile/") or key == site_layout.CHECKPOINT}
    kept = {key: data for key, data in objects.items() if not key.startswith("audit/tile/")}
    with pytest.raises(VerificationError, match="does not continue"):
        verify({**kept, **audit}, attempt.wheel)
    forged = sign_checkpoint(BULK + 4, bytes(32), LOG)
    with pytest.raises(VerificationError, match="do not make up the root"):
        verify({**objects, site_layout.CHECKPOINT: forged}, attempt.wheel)


def test_a_swapped_entry_or_envelope_is_refused(published: tuple[dict[str, bytes], Attempt]):
    """Another attempt's true envelope, or another host key in the entry: each part is genuine, their sum is not."""
    objects, attempt = published
    key = site_layout.wheel_provenance(attempt.wheel)
    provenance = parse_canonical(objects[key][:-1], key)
    assert isinstance(provenance, dict)
    others = [name for name in objects if name.startswith("audit/entries/") and attempt.statement_sha256 not in name]
    envelope = parse_canonical(objects[others[0]][:-1], "envelope")
    recorded = parse_entry(provenance["entry"].encode())
    entry = render_entry(replace(recorded, statement=others[0][len("audit/entries/") : -len(".json")])).decode()
    for change in ({"envelope": envelope}, {"entry": entry}, {"entry": entry, "envelope": envelope}, {"index": 0}):
        with pytest.raises(VerificationError):
            verify({**objects, key: canonical(provenance | change) + b"\n"}, attempt.wheel)


def test_a_wheel_under_another_name_is_refused(published: tuple[dict[str, bytes], Attempt]):
    objects, attempt = published
    name = attempt.wheel.replace("-1-", "-2-")
    moved = {**objects, site_layout.wheel(name): objects[site_layout.wheel(attempt.wheel)]}
    moved[site_layout.wheel_provenance(name)] = objects[site_layout.wheel_provenance(attempt.wheel)]
    with pytest.raises(VerificationError):
        verify(moved, name)


def test_pages_that_do_not_list_the_wheel_are_refused(published: tuple[dict[str, bytes], Attempt]):
    """Signed pages without it, and pages of another project in its place."""
    objects, attempt = published
    site = MemoryStore()
    site.objects = dict(objects)
    publish(site, ())
    with pytest.raises(VerificationError, match="does not list"):
        verify(site.objects, attempt.wheel)
    publish(site, (attempt,), project="other")
    for name in ("index.html", "index.json", "attestation.json"):
        site.objects[f"simple/wrapt/{name}"] = site.objects[f"simple/other/{name}"]
    with pytest.raises(VerificationError, match="not the ones that the publisher signed"):
        verify(site.objects, attempt.wheel)


def test_index_and_log_are_compared(published: tuple[dict[str, bytes], Attempt]):
    """Each way in which they can differ is named; a project without wheels of ours needs no page."""
    objects, attempt = published
    site = MemoryStore()
    site.objects = dict(objects)
    assert compare_index_with_log(site, (attempt,), ["wrapt", "lz4"]) == []
    assert compare_index_with_log(site, (), ["wrapt"]) == [
        (attempt.wheel, "the page lists it, and the audit log does not know it")
    ]
    del site.objects[site_layout.wheel(attempt.wheel)]
    gone = (attempt.wheel, "the audit log has it, and its file is gone from the site")
    assert compare_index_with_log(site, (attempt,), ["wrapt"]) == [gone]
    publish(site, ())
    assert compare_index_with_log(site, (attempt,), ["wrapt"]) == [
        (attempt.wheel, "the audit log has it, and the page does not list it"), gone,
    ]  # fmt: skip
    data = objects["simple/wrapt/index.json"].replace(attempt.wheel_sha256.encode(), b"0" * 64)
    site.objects = {**objects, "simple/wrapt/index.json": data}
    assert compare_index_with_log(site, (attempt,), ["wrapt"]) == [
        (attempt.wheel, f"the page says sha256 {'0' * 64}, the audit log {attempt.wheel_sha256}")
    ]


def test_the_samples_are_what_they_seem(published: tuple[dict[str, bytes], Attempt]):
    """The published wheel is the one whose hash the attempt has."""
    objects, attempt = published
    assert hashlib.sha256(objects[site_layout.wheel(attempt.wheel)]).hexdigest() == attempt.wheel_sha256
