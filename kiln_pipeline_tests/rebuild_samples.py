"""Rebuild bundles as hosts leave them, made by the product's own code over the sample wheels."""

import gzip
import hashlib
import io
import zipfile
from datetime import timedelta

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.hosts import Host
from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.core.provenance.dsse import unverified_payload
from kiln_pipeline.core.provenance.statement import parse_statement
from kiln_pipeline.core.rebuilds import Obstacle, Rebuild, RebuildVerdict
from kiln_pipeline.stages.rebuild import Original, Rebuilt, leave_in_inbox
from kiln_pipeline_tests.audit_samples import HOSTS, LOG, STARTED
from kiln_pipeline_tests.fakes import MemorySigner, MemoryStore

ELSEWHERE = MemorySigner("mac-mini-2")
BOTH = HOSTS | {ELSEWHERE.name: Host(name=ELSEWHERE.name, platforms=(Platform.MACOSX_ARM64,), public_key=ELSEWHERE.public_key)}


def original_of(attempt: Attempt, site: MemoryStore, *, origin: str = LOG.name) -> Original:
    """The published wheel of an attempt that the log has."""
    envelope = site.get(site_layout.attempt_statement(attempt.statement_sha256))
    return Original(
        wheel=site.get(site_layout.wheel(attempt.wheel)),
        statement=parse_statement(unverified_payload(envelope)),
        index=attempt.index,
        origin=origin,
    )


def rezipped(wheel: bytes, *, extra: str = "") -> bytes:
    """The same members in another order, and one more when `extra` names it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(wheel)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in reversed(old.namelist()):
            new.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), old.read(name))
        if extra:
            new.writestr(zipfile.ZipInfo(extra, (2020, 1, 1, 0, 0, 0)), b"")
    return buffer.getvalue()


def sample_rebuilt(original: Original, verdict: RebuildVerdict, *, minutes: int = 0, host: str = ELSEWHERE.name) -> Rebuilt:
    """What a host says that it made of a wheel."""
    attempt = original.statement.attempt
    made = {
        RebuildVerdict.IDENTICAL: original.wheel,
        RebuildVerdict.EQUAL: rezipped(original.wheel),
        RebuildVerdict.DIFFERENT: rezipped(original.wheel, extra="wrapt/more.py"),
        RebuildVerdict.NOT_REBUILDABLE: b"",
    }[verdict]
    log = gzip.compress(f"rebuilding {minutes}\n".encode(), mtime=0)
    difference = "what differs\n" if made not in (b"", original.wheel) else ""
    started = STARTED + timedelta(days=1, minutes=minutes)
    stopped = verdict is RebuildVerdict.NOT_REBUILDABLE
    rebuild = Rebuild(
        release=attempt.release,
        identifier=attempt.identifier,
        wheel=attempt.wheel,
        wheel_sha256=attempt.wheel_sha256,
        original=original.index,
        verdict=verdict,
        started=started,
        finished=started + timedelta(seconds=30),
        host=host,
        builder=attempt.builder,
        rebuilt_sha256=hashlib.sha256(made).hexdigest() if made else "",
        obstacle=Obstacle.SDIST_GONE if stopped else "",
        reason="upstream answered 404" if stopped else "",
        difference_sha256=hashlib.sha256(gzip.compress(difference.encode(), mtime=0)).hexdigest() if difference else "",
        log_sha256=hashlib.sha256(log).hexdigest(),
    )
    return Rebuilt(rebuild=rebuild, log=log, difference=difference, filename=attempt.wheel if made else "", wheel=made)


def put_rebuild(
    inbox: MemoryStore,
    original: Original,
    verdict: RebuildVerdict,
    *,
    signer: MemorySigner = ELSEWHERE,
    host: str = "",
    minutes: int = 0,
) -> str:
    """Leave a verdict in the inbox and return its bundle's id."""
    rebuilt = sample_rebuilt(original, verdict, minutes=minutes, host=host or signer.name)
    return leave_in_inbox(original, rebuilt, inbox=inbox, signer=signer, run_id="run-2")
