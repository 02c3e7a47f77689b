"""Rebuild: make one published wheel again, with what its statement records and nothing else, and give a verdict.

Legal order: the wheel is verified first (`stages.verify`), then `rebuild_wheel`. It builds in a fresh folder, with tools made
anew there and no cache of any other build; nothing is published in place of the wheel. `leave_in_inbox` is for wheels of a log of
ours: what it leaves is recorded like an attempt (`stages.record`).
"""

import gzip
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.build_plan import BuildResult, Failure
from kiln_pipeline.core.distributions import DistributionFile
from kiln_pipeline.core.failures import FailureClass
from kiln_pipeline.core.ladder import PASSING
from kiln_pipeline.core.platforms import Platform
from kiln_pipeline.core.provenance.attempt_bundle import ATTESTATION
from kiln_pipeline.core.provenance.dsse import sign_envelope
from kiln_pipeline.core.provenance.rebuild_bundle import DIFFERENCE, LOG, WHEEL
from kiln_pipeline.core.provenance.rebuild_statement import rebuild_statement
from kiln_pipeline.core.provenance.statement import Statement
from kiln_pipeline.core.rebuilds import Obstacle, Rebuild, RebuildVerdict, summary
from kiln_pipeline.core.replay import changed_materials, replay_plan
from kiln_pipeline.core.wheel_comparison import compare_wheels
from kiln_pipeline.errors import BuildError, NotRebuildable, UpstreamError
from kiln_pipeline.ports import ObjectStore, Progress, Signer, UpstreamIndex, WheelBuilder
from kiln_pipeline.stages.build import Tried, try_strategy
from kiln_pipeline.stages.build_folders import build_folder

Explain = Callable[[Path, Path], str]
"""What differs between two wheels, for a person; empty when it cannot be said (diffoscope is not installed)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Original:
    """A published wheel without doubt (`stages.verify`), and where the log has it."""

    wheel: bytes
    statement: Statement
    index: int
    """Position of its entry in the audit log."""
    origin: str
    """Name of that log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuilt:
    """What became of a rebuild, with everything that its record needs."""

    rebuild: Rebuild
    log: bytes
    """Gzipped."""
    difference: str = ""
    """What differs, for a person."""
    filename: str = ""
    """What the wheel was called this time; empty when there is none."""
    wheel: bytes = b""
    result: BuildResult | None = None
    """What the builder said of its work; None when nothing was built."""


def rebuild_wheel(
    original: Original,
    *,
    builders: Sequence[WheelBuilder],
    platform: Platform,
    host: str,
    upstream: UpstreamIndex,
    clock: Callable[[], datetime],
    work: Path,
    explain: Explain,
    progress: Progress,
) -> Rebuilt:
    """Build a wheel again in a fresh folder under `work` and compare; `platform` and `host` are those of this host.

    That it cannot be built again is a verdict too. Raises `BuildError`, `UpstreamError` or `StoreError` when nothing could be
    found out this time (no network, no space left, a timeout): then there is no verdict, and another try is worth it.
    """
    attempt, started = original.statement.attempt, clock()
    rebuild = Rebuild(
        release=attempt.release,
        identifier=attempt.identifier,
        wheel=attempt.wheel,
        wheel_sha256=attempt.wheel_sha256,
        original=original.index,
        verdict=RebuildVerdict.NOT_REBUILDABLE,
        started=started,
        finished=started,
        host=host,
        builder=attempt.builder,
    )
    with build_folder(work, "kiln-rebuild-") as folder:
        try:
            builder = _builder(attempt, builders, platform)
            progress.step(f"{attempt.release} {attempt.identifier}: rebuilding with {builder.name}")
            rebuilt = _build_again(original, rebuild, builder, upstream, folder, explain)
        except NotRebuildable as error:
            rebuilt = _refused(rebuild, error)
    done = replace(rebuilt.rebuild, finished=clock(), log_sha256=hashlib.sha256(rebuilt.log).hexdigest())
    progress.step(f"{attempt.wheel}: {summary(done)}")
    return replace(rebuilt, rebuild=done)


def leave_in_inbox(original: Original, rebuilt: Rebuilt, *, inbox: ObjectStore, signer: Signer, run_id: str = "") -> str:
    """Leave the signed verdict in the inbox, for the publisher to verify and record; return the id of its bundle.

    The attestation is written last, as with attempts. Raises `StoreError`.
    """
    payload = rebuild_statement(
        rebuilt.rebuild,
        origin=original.origin,
        original_statement=original.statement.attempt.statement_sha256,
        rebuilt=rebuilt.filename,
        materials=rebuilt.result.materials if rebuilt.result else (),
        run_id=run_id,
    )
    bundle = hashlib.sha256(payload).hexdigest()
    inbox.put(f"{bundle}/{LOG}", rebuilt.log)
    if rebuilt.difference:
        inbox.put(f"{bundle}/{WHEEL}", rebuilt.wheel)
        inbox.put(f"{bundle}/{DIFFERENCE}", _packed(rebuilt.difference))
    inbox.put(f"{bundle}/{ATTESTATION}", sign_envelope(payload, [signer]))
    return bundle


def _builder(attempt: Attempt, builders: Sequence[WheelBuilder], platform: Platform) -> WheelBuilder:
    """Return this host's builder of the kind that made the wheel."""
    builder = next((builder for builder in builders if builder.name == attempt.builder), None)
    refusal = builder.refuses(attempt.identifier) if builder else f"this host has no builder called {attempt.builder}"
    if builder is not None and not refusal:
        return builder
    other = attempt.identifier.platform != platform
    obstacle = Obstacle.OTHER_PLATFORM if other else Obstacle.NO_BUILDER
    raise NotRebuildable(subject=attempt.wheel, obstacle=obstacle, reason=refusal, hint="rebuild it on another host")


def _build_again(
    original: Original, rebuild: Rebuild, builder: WheelBuilder, upstream: UpstreamIndex, folder: Path, explain: Explain
) -> Rebuilt:
    plan = replay_plan(original.statement)
    (folder / "sdist").mkdir()
    sdist = _download(plan.sdist, upstream, folder / "sdist")
    replaying = builder.replaying(plan.identifier, original.statement.materials, folder / "tools")
    tried = try_strategy(plan, sdist, folder, builder=replaying)
    if tried.outcome.failure is not None:
        error = _failed(rebuild.wheel, tried.outcome.failure)
        return replace(_refused(rebuild, error, tried.section), result=tried.result)
    return _compared(original, rebuild, tried, folder, explain)


def _download(sdist: DistributionFile, upstream: UpstreamIndex, folder: Path) -> Path:
    try:
        return upstream.download(sdist, folder)
    except UpstreamError as error:
        if error.retriable:
            raise
        reason = f"{sdist.url}: {error.reason}"
        raise NotRebuildable(subject=sdist.filename, obstacle=Obstacle.SDIST_GONE, reason=reason) from error


def _failed(wheel: str, failure: Failure) -> NotRebuildable:
    """Return a failed build as a verdict. Raises `BuildError` for a failure that says more of the day than of the wheel."""
    reason = f"{failure.failure_class}: {failure.proof}"
    if failure.failure_class in PASSING:
        raise BuildError(subject=wheel, reason=f"no verdict, since the rebuild was cut short: {reason}", hint="try again later")
    gone = failure.failure_class == FailureClass.BUILD_REQUIREMENT
    return NotRebuildable(subject=wheel, obstacle=Obstacle.REQUIREMENT_GONE if gone else Obstacle.BUILD_FAILED, reason=reason)


def _refused(rebuild: Rebuild, error: NotRebuildable, log: str = "") -> Rebuilt:
    told = replace(rebuild, obstacle=error.obstacle, reason=error.reason)
    return Rebuilt(rebuild=told, log=_packed(f"{log}kiln: {summary(told)}\n"))


def _compared(original: Original, rebuild: Rebuild, tried: Tried, folder: Path, explain: Explain) -> Rebuilt:
    facts, data = tried.outcome.facts, tried.outcome.data
    assert facts is not None, "a build without a failure made a wheel"
    comparison = compare_wheels(original.wheel, data)
    told = replace(rebuild, verdict=comparison.verdict, rebuilt_sha256=facts.sha256)
    difference = comparison.text
    if comparison.verdict is RebuildVerdict.DIFFERENT:
        difference = (
            explain(
                _written(folder / "published", rebuild.wheel, original.wheel), _written(folder / "rebuilt", facts.filename, data)
            )
            or difference
        )
    if difference:
        renamed = [f"it is called {facts.filename} this time"] if facts.filename != rebuild.wheel else []
        inputs = changed_materials(original.statement.materials, tried.result.materials)
        difference = "".join(f"{line}\n" for line in (*renamed, *inputs)) + difference
    return Rebuilt(
        rebuild=replace(told, difference_sha256=hashlib.sha256(_packed(difference)).hexdigest() if difference else ""),
        log=_packed(f"{tried.section}kiln: {summary(told)}\n"),
        difference=difference,
        filename=facts.filename,
        wheel=data,
        result=tried.result,
    )


def _written(folder: Path, filename: str, data: bytes) -> Path:
    folder.mkdir()
    path = folder / filename
    path.write_bytes(data)
    return path


def _packed(text: str) -> bytes:
    return gzip.compress(text.encode(errors="backslashreplace"), mtime=0)
