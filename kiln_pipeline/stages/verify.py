"""Verify: follow one wheel back to its sdist, recipe, host and log entry, trusting nothing but the log's key. Writes nothing.

Every byte that is fetched is covered by a signature or a hash before it is believed. The first doubt is a `VerificationError`;
there are no warnings and no switches. `verify_offline` needs the wheel and its provenance file, `verify_wheel` the site too.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.audit_log.checkpoint import Checkpoint, VerifierKey, open_checkpoint
from kiln_pipeline.core.audit_log.merkle import leaf_hash, tree_root
from kiln_pipeline.core.audit_log.tiles import Fetch, TileReader
from kiln_pipeline.core.provenance.dsse import key_id, open_envelope
from kiln_pipeline.core.provenance.page_statement import read_page_statement
from kiln_pipeline.core.provenance.statement import Statement, claim_of
from kiln_pipeline.core.provenance.wheel_bundle import VerifiedBundle, WheelBundle, parse_bundle, verify_bundle
from kiln_pipeline.core.strict_json import Table, format_time, parse
from kiln_pipeline.core.wheel_checks import check_wheel
from kiln_pipeline.core.wheel_contents import WheelFacts, read_wheel
from kiln_pipeline.errors import ObjectNotFound, VerificationError
from kiln_pipeline.ports import ObjectStore
from kiln_pipeline.stages.verify_rebuilds import tell_rebuilds

Story = tuple[tuple[str, str], ...]
"""(check, fact) lines for a person, from the wheel to the checkpoint."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """A wheel without doubt."""

    statement: Statement
    index: int
    """Position of its entry in the audit log."""
    story: Story


@dataclass(frozen=True, kw_only=True, slots=True)
class PageFile:
    """One file that a project page lists, ours or upstream's."""

    filename: str
    sha256: str
    """Empty when the page has none."""
    url: str

    @property
    def ours(self) -> bool:
        """Whether the page says that it lies among our wheels."""
        return self.url == f"../../{quote(site_layout.wheel(self.filename))}"


def project_files(project: str, *, fetch: Fetch, log_key: str) -> tuple[PageFile, ...]:
    """Return what the project's signed page lists. Raises `VerificationError`, also when there is no such page."""
    return _signed_files(project, VerifierKey.parse(log_key), fetch)


def verify_offline(
    wheel_bytes: bytes, filename: str, provenance: bytes, *, log_key: str, beside: Fetch | None = None
) -> Verification:
    """Verify a wheel with nothing but the provenance file that was downloaded with it.

    This proves that the entry was in the log when the file was made, not that the log is still the same. `log_key` is the log's
    verifier key (``name+hash+key``); `beside` gives what else was downloaded, by its key on the site: the verdicts of rebuilds.
    Raises `VerificationError`.
    """
    key = VerifierKey.parse(log_key)
    _, bundle, verified = _check_provenance(wheel_bytes, filename, provenance, key)
    statement = verified.statement
    story = _story(statement, verified, bundle.index, sdist="named by the statement, not fetched", newest=verified.checkpoint)
    if beside is not None:
        told = tell_rebuilds(statement.attempt, bundle.index, fetch=beside, log_key=key, reader=None)
        story = (*story, ("rebuilds", told))
    return Verification(statement=statement, index=bundle.index, story=story)


def verify_wheel(
    wheel_bytes: bytes, filename: str, *, fetch: Fetch, log_key: str, sdist_fetch: Callable[[str], bytes] | None
) -> Verification:
    """Verify a wheel against the site that published it.

    `fetch` gives the bytes of a key of the site (raises `ObjectNotFound`), `log_key` is the log's verifier key, `sdist_fetch`
    gives the bytes behind the sdist's URL; without it the sdist's hash is told, not checked. Raises `VerificationError`.
    """
    key = VerifierKey.parse(log_key)
    provenance = _get(fetch, site_layout.wheel_provenance(filename))
    facts, bundle, verified = _check_provenance(wheel_bytes, filename, provenance, key)
    statement = verified.statement
    _check_files(facts, bundle, statement.attempt, fetch)
    newest, reader = _check_log(bundle, verified.checkpoint, key, fetch)
    rebuilds = tell_rebuilds(statement.attempt, bundle.index, fetch=fetch, log_key=key, reader=reader)
    page = _check_page(facts, statement.attempt.release.project, key, fetch)
    sdist = "named by the statement, not fetched"
    if sdist_fetch is not None:
        _check_sdist(statement, sdist_fetch)
        sdist = "fetched: the bytes that were built from"
    story = (
        *_story(statement, verified, bundle.index, sdist=sdist, newest=newest),
        ("rebuilds", rebuilds),
        ("page", page),
    )
    return Verification(statement=statement, index=bundle.index, story=story)


def compare_index_with_log(site: ObjectStore, attempts: Sequence[Attempt], projects: Collection[str]) -> list[tuple[str, str]]:
    """Return (filename, difference) wherever the pages of `projects` and the audit log do not say the same of our wheels.

    A wheel of ours on a page that the log does not know, or with another hash; a wheel in the log that its page does not list,
    or that the site no longer has. Raises `VerificationError` for a page that cannot be read.
    """
    logged = {attempt.wheel: attempt for attempt in attempts if attempt.wheel}
    differences: list[tuple[str, str]] = []
    for project in sorted(projects):
        key = site_layout.project_json(project)
        own = {name: attempt for name, attempt in logged.items() if attempt.release.project == project}
        if not own and not site.exists(key):
            continue
        listed = {file.filename: file for file in _listed(_get(site.get, key), key)}
        for name, file in sorted(listed.items()):
            if name not in own and file.ours:
                differences.append((name, "the page lists it, and the audit log does not know it"))
            elif name in own and file.sha256 != own[name].wheel_sha256:
                differences.append((name, f"the page says sha256 {file.sha256}, the audit log {own[name].wheel_sha256}"))
        for name in sorted(own):
            if name not in listed:
                differences.append((name, "the audit log has it, and the page does not list it"))
            if not site.exists(site_layout.wheel(name)):
                differences.append((name, "the audit log has it, and its file is gone from the site"))
    return differences


def _check_provenance(
    wheel_bytes: bytes, filename: str, provenance: bytes, key: VerifierKey
) -> tuple[WheelFacts, WheelBundle, VerifiedBundle]:
    """Check the provenance file against the log's key, and the wheel against its statement, its hash before its content."""
    bundle = parse_bundle(provenance, site_layout.wheel_provenance(filename))
    verified = verify_bundle(bundle, key)
    claim, sha256 = verified.statement.wheel, hashlib.sha256(wheel_bytes).hexdigest()
    if claim is None or (claim.filename, claim.sha256) != (filename, sha256):
        raise VerificationError(
            subject=filename,
            reason=f"its sha256 is {sha256}, and its provenance is of another file",
            hint="it is not the file that was built and recorded: do not install it",
        )
    facts = read_wheel(filename, wheel_bytes)
    if claim_of(facts) != claim:
        raise VerificationError(subject=filename, reason="its statement says something else than the wheel")
    check_wheel(facts, verified.statement.plan)
    return facts, bundle, verified


def _check_files(facts: WheelFacts, bundle: WheelBundle, attempt: Attempt, fetch: Fetch) -> None:
    """Check what the site has of this wheel: metadata file, envelope, build log."""
    key = site_layout.wheel_metadata(facts.filename)
    if _get(fetch, key) != facts.metadata:
        raise VerificationError(subject=key, reason="it is not the core metadata in the wheel")
    key = site_layout.attempt_statement(attempt.statement_sha256)
    if _get(fetch, key) != bundle.envelope:
        raise VerificationError(subject=key, reason="it is not the envelope in the wheel's provenance")
    key = site_layout.build_log(attempt.log_sha256)
    if hashlib.sha256(_get(fetch, key)).hexdigest() != attempt.log_sha256:
        raise VerificationError(subject=key, reason="it is not the log that was recorded: its sha256 differs")


def _check_log(bundle: WheelBundle, then: Checkpoint, key: VerifierKey, fetch: Fetch) -> tuple[Checkpoint, TileReader]:
    """Check that the log as it is now has the entry, and continues the checkpoint in the provenance file; return it."""
    now = open_checkpoint(_get(fetch, site_layout.CHECKPOINT), key)
    rolled_back = VerificationError(
        subject="audit log",
        reason=f"the log of {now.size} entries does not continue the one of {then.size} that has this wheel",
        hint="it was rolled back, rewritten or forked: do not trust this site until it is explained",
    )
    if now.size < then.size:
        raise rolled_back
    reader = TileReader(now.size, now.root, lambda name: _get(fetch, name))
    if reader.node(0, bundle.index) != leaf_hash(bundle.entry) or tree_root(then.size, reader.node) != then.root:
        raise rolled_back
    # the published entry too, not its hash alone: whoever reads the log by hand must find there what we verified here
    if tuple(reader.entries(bundle.index, bundle.index + 1)) != (bundle.entry,):
        raise rolled_back
    return now, reader


def _check_page(facts: WheelFacts, project: str, key: VerifierKey, fetch: Fetch) -> str:
    """Check the project's pages against their attestation, and that they list this very file."""
    hashes = [file.sha256 for file in _signed_files(project, key, fetch) if file.filename == facts.filename]
    if hashes != [facts.sha256]:
        raise VerificationError(subject=f"simple/{project}/", reason=f"it does not list {facts.filename} once, with its sha256")
    return f"simple/{project}/ lists it with this sha256, signed by {key.name}"


def _signed_files(project: str, key: VerifierKey, fetch: Fetch) -> tuple[PageFile, ...]:
    """Return the files on the project's pages, which are the ones that the publisher signed."""
    log_id = key_id(key.public_key)
    attestation = _get(fetch, site_layout.project_attestation(project))
    statement = read_page_statement(open_envelope(attestation, keys={log_id: key.public_key}, required=[log_id]))
    pages = {
        "index.html": _get(fetch, site_layout.project_html(project)),
        "index.json": _get(fetch, site_layout.project_json(project)),
    }
    found = {name: hashlib.sha256(data).hexdigest() for name, data in pages.items()}
    if (statement.project, statement.pages) != (project, found):
        raise VerificationError(
            subject=f"simple/{project}/",
            reason="its pages are not the ones that the publisher signed",
            hint="if they are being published just now, try again; else they were altered",
        )
    return tuple(_listed(pages["index.json"], f"simple/{project}/"))


def _check_sdist(statement: Statement, sdist_fetch: Callable[[str], bytes]) -> None:
    sdist = statement.plan.sdist
    if hashlib.sha256(_get(sdist_fetch, sdist.url)).hexdigest() != sdist.sha256:
        raise VerificationError(
            subject=sdist.url,
            reason="it is not the sdist that was built from: its sha256 differs",
            hint="upstream replaced it, or it was altered on its way",
        )


def _listed(page: bytes, subject: str) -> Iterator[PageFile]:
    """Yield each file of a project page in JSON (PEP 691)."""
    files = Table(parse(page, subject), subject, fields=None)
    for number, item in enumerate(files.items("files")):
        file = Table(item, subject, fields=None, path=f"files[{number}]")
        hashes = file.table("hashes", fields=None)
        sha256 = hashes.text("sha256") if "sha256" in hashes.plain() else ""
        yield PageFile(filename=file.text("filename"), sha256=sha256, url=file.text("url"))


def _get(fetch: Fetch, key: str) -> bytes:
    try:
        return fetch(key)
    except ObjectNotFound as error:
        raise VerificationError(subject=key, reason="it is missing", hint="verification fails closed") from error


def _story(statement: Statement, verified: VerifiedBundle, index: int, *, sdist: str, newest: Checkpoint) -> Story:
    attempt, plan = statement.attempt, statement.plan
    recipe = f"sha256 {attempt.recipe_sha256}" if attempt.recipe_sha256 else "none: an ad-hoc build"
    host_key = key_id(verified.entry.host_key)[:16]
    tools = [material.name for material in statement.materials if material.kind != "build-requirement"]
    requirements = [material.name for material in statement.materials if material.kind == "build-requirement"]
    return (
        ("wheel", f"{attempt.wheel}, sha256 {attempt.wheel_sha256}"),
        ("statement", f"{attempt.release} for {attempt.identifier}, sha256 {attempt.statement_sha256}"),
        ("sdist", f"{plan.sdist.filename}, sha256 {plan.sdist.sha256} ({sdist})"),
        ("recipe", recipe),
        ("host", f"{attempt.host} with {attempt.builder}, {format_time(attempt.finished)}, signed by its key {host_key}…"),
        ("built with", ", ".join(tools) or "nothing that was recorded"),
        ("requirements", ", ".join(requirements) or "none that were recorded"),
        ("build log", site_layout.build_log(attempt.log_sha256)),
        ("log entry", f"number {index}, countersigned by {newest.origin}"),
        ("checkpoint", f"{newest.origin} with {newest.size} entries, root {newest.root.hex()}"),
    )
