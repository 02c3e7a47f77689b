"""Rebuild a sample of the published wheels of one platform, and leave each verdict in the inbox. Nothing is recorded here.

A wheel that cannot be judged stalls no other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.core.rebuilds import Rebuild, sample
from kiln_pipeline.errors import BuildError, ObjectNotFound, UpstreamError, VerificationError
from kiln_pipeline.ports import ObjectStore, Progress, Signer, UpstreamIndex, WheelBuilder
from kiln_pipeline.stages.rebuild import Explain, Original, Rebuilt, leave_in_inbox, rebuild_wheel
from kiln_pipeline.stages.verify import verify_offline


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleReport:
    """What became of a sample."""

    rebuilt: tuple[Rebuilt, ...] = ()
    """Verdicts that the inbox has now."""
    no_verdict: tuple[tuple[str, str], ...] = ()
    """(wheel, reason): nothing could be found out this time; another try is worth it."""
    doubts: tuple[tuple[str, str], ...] = ()
    """(wheel, reason): what is published does not verify, so nothing was built."""


def rebuild_sample(
    attempts: Sequence[Attempt],
    rebuilds: Sequence[Rebuild],
    *,
    count: int,
    platform: Platform,
    site: ObjectStore,
    log_key: str,
    inbox: ObjectStore,
    signer: Signer,
    builders: Sequence[WheelBuilder],
    upstream: UpstreamIndex,
    clock: Callable[[], datetime],
    work: Path,
    explain: Explain,
    progress: Progress,
    run_id: str = "",
) -> SampleReport:
    """Rebuild the `count` wheels that `core.rebuilds.sample` chooses from what the log has, each after it has been verified.

    `log_key` is the verifier key of the log on `site`. Raises `StoreError` when a store cannot be read or written.
    """
    rebuilt: list[Rebuilt] = []
    no_verdict: list[tuple[str, str]] = []
    doubts: list[tuple[str, str]] = []
    for attempt in sample(attempts, rebuilds, platform, count):
        try:
            original = _verified(attempt.wheel, site, log_key)
            result = rebuild_wheel(
                original,
                builders=builders,
                platform=platform,
                host=signer.name,
                upstream=upstream,
                clock=clock,
                work=work,
                explain=explain,
                progress=progress,
            )
        except VerificationError as error:
            doubts.append((attempt.wheel, str(error)))
        except (BuildError, UpstreamError) as error:
            no_verdict.append((attempt.wheel, str(error)))
        else:
            leave_in_inbox(original, result, inbox=inbox, signer=signer, run_id=run_id)
            rebuilt.append(result)
    return SampleReport(rebuilt=tuple(rebuilt), no_verdict=tuple(no_verdict), doubts=tuple(doubts))


def _verified(filename: str, site: ObjectStore, log_key: str) -> Original:
    try:
        wheel, provenance = site.get(site_layout.wheel(filename)), site.get(site_layout.wheel_provenance(filename))
    except ObjectNotFound as error:
        raise VerificationError(subject=error.key, reason="it is gone", hint="restore it from a backup") from error
    verification = verify_offline(wheel, filename, provenance, log_key=log_key)
    return Original(
        wheel=wheel, statement=verification.statement, index=verification.index, origin=VerifierKey.parse(log_key).name
    )
