"""Build one wheel from one plan, and leave the attempt in the inbox. Nothing is published here, and only the host's key is used.

Legal order, and the reason for it: the sdist is checked before anything runs; the wheel is checked before anything is signed;
the attestation is written last, so that a bundle without one is a build that was interrupted, and nothing else. One attempt tries
the strategies of its ladder (`core.ladder`) until one makes the wheel; all of them stand in its log and its statement.
"""

import gzip
import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.build_plan import BuildPlan, BuildResult, Failure
from kiln_pipeline.core.failure_log import classify
from kiln_pipeline.core.failures import FailureClass
from kiln_pipeline.core.ladder import RungOutcome, cause_of, ladder_of, next_strategy, verdict
from kiln_pipeline.core.provenance.attempt_bundle import ATTESTATION
from kiln_pipeline.core.provenance.dsse import sign_envelope
from kiln_pipeline.core.provenance.statement import LOG_NAME, build_statement, read_statement
from kiln_pipeline.core.strategies import Strategy
from kiln_pipeline.core.wheel_checks import BAD_BINARY, LOST_EXTENSION, check_claims, check_declared, check_wheel
from kiln_pipeline.core.wheel_contents import WheelFacts, read_wheel
from kiln_pipeline.errors import VerificationError
from kiln_pipeline.ports import ObjectStore, Progress, Signer, UpstreamIndex, WheelBuilder
from kiln_pipeline.stages.build_folders import build_folder

MAX_LOG_SIZE = 64 * 1024**2
"""Bytes of a log that are kept, shared evenly by the rungs of a ladder: of a longer one the first and the last half."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOutcome:
    """What became of a build: the wheel's bytes and facts, or the failure."""

    data: bytes = b""
    facts: WheelFacts | None = None
    failure: Failure | None = None

    @property
    def last_line(self) -> str:
        if self.facts is not None:
            return f"kiln: SUCCEEDED {self.facts.filename} sha256={self.facts.sha256}"
        assert self.failure is not None
        return f"kiln: FAILED {self.failure.failure_class}: {self.failure.proof}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """One rung of the ladder, tried."""

    plan: BuildPlan
    result: BuildResult
    outcome: BuildOutcome
    log: str

    @property
    def record(self) -> RungOutcome:
        failure = self.outcome.failure
        rung = str(self.plan.strategy.rung)
        return (
            RungOutcome(rung=rung, failure_class=failure.failure_class, proof=failure.proof)
            if failure
            else RungOutcome(rung=rung)
        )

    @property
    def section(self) -> str:
        """The log, between a line that says what was tried and, when it failed, one that says how it ended."""
        failure = self.outcome.failure
        end = f"kiln: {self.plan.strategy.rung} failed: {failure.failure_class}: {failure.proof}\n" if failure else ""
        return f"kiln: trying {self.plan.strategy}\n{self.log}{end}"


def build_wheel(
    plan: BuildPlan,
    *,
    builder: WheelBuilder,
    upstream: UpstreamIndex,
    inbox: ObjectStore,
    signer: Signer,
    clock: Callable[[], datetime],
    work: Path,
    progress: Progress,
    run_id: str = "",
) -> Attempt:
    """Build the wheel of `plan` in a fresh folder under `work` and return the attempt that the inbox now holds.

    A package that fails to build is a failed attempt. Raises `UpstreamError` when the sdist cannot be had as upstream states it,
    `BuildError` when the builder cannot run, `StoreError` when the inbox cannot be written; then nothing is recorded.
    """
    started = clock()
    with build_folder(work, "kiln-build-") as folder:
        (folder / "sdist").mkdir()
        sdist = upstream.download(plan.sdist, folder / "sdist")
        progress.step(f"{plan.release} {plan.identifier}: building with {builder.name}")
        rungs = list(_climb(plan, sdist, folder, builder=builder, progress=progress))
    failures = [rung.outcome.failure for rung in rungs if rung.outcome.failure is not None]
    deciding = rungs[-1] if len(failures) < len(rungs) else rungs[verdict(failures)]
    outcome, text = deciding.outcome, "".join(rung.section for rung in rungs)
    packed = gzip.compress(f"{text}{outcome.last_line}\n".encode(errors="backslashreplace"), mtime=0)
    payload = build_statement(
        plan=deciding.plan,
        result=deciding.result,
        wheel=outcome.facts,
        failure=outcome.failure,
        log_sha256=hashlib.sha256(packed).hexdigest(),
        host=signer.name,
        started=started,
        finished=clock(),
        run_id=run_id,
        rungs=[rung.record for rung in rungs],
    )
    _leave_in_inbox(inbox, payload, packed, outcome, signer)
    progress.step(f"{plan.release} {plan.identifier}: {outcome.last_line.removeprefix('kiln: ')}")
    return read_statement(payload)


def _climb(plan: BuildPlan, sdist: Path, folder: Path, *, builder: WheelBuilder, progress: Progress) -> Iterator[Tried]:
    """Build by one strategy of the plan's ladder after the other, while the last one failed and another can mend that."""
    ladder = ladder_of(plan)
    strategy: Strategy | None = ladder[0]
    strategies: list[Strategy] = []
    causes: list[str] = []
    number = 0
    while strategy is not None:
        number += 1
        tried = replace(plan, strategy=strategy)
        rung = try_strategy(tried, sdist, folder, builder=builder, number=number, log_limit=MAX_LOG_SIZE // len(ladder))
        yield rung
        failure = rung.outcome.failure
        if failure is None:
            return
        strategies.append(strategy)
        causes.append(cause_of(failure, rung.log))
        strategy = next_strategy(
            ladder, strategies, causes, failure=failure, log=rung.log, result=rung.result, project=plan.release.project
        )
        if strategy is not None:
            progress.step(f"{plan.release} {plan.identifier}: {failure.failure_class}; trying {strategy.rung}")


def try_strategy(
    plan: BuildPlan, sdist: Path, folder: Path, *, builder: WheelBuilder, number: int = 1, log_limit: int = MAX_LOG_SIZE
) -> Tried:
    """Build once, by the plan's own strategy, in ``<folder>/build``, and judge the wheel; then that folder is there and empty."""
    work = folder / "build"
    work.mkdir(exist_ok=True)
    log = folder / f"build-{number}.log"
    result = _without_path(builder.build(plan, sdist, work=work, log=log), folder)
    text = _log_text(log, folder, log_limit)
    tried = Tried(plan=plan, result=result, outcome=_judge(plan, result, text), log=text)
    spent = work.rename(folder / f"spent-{number}")
    shutil.rmtree(spent, ignore_errors=True)
    work.mkdir()
    return tried


def _without_path(result: BuildResult, folder: Path) -> BuildResult:
    """Return the result with the host's own path of the build folder written as in the log."""
    if result.failure is None:
        return result
    return replace(result, failure=replace(result.failure, proof=result.failure.proof.replace(str(folder), "{work}")))


def _judge(plan: BuildPlan, result: BuildResult, log: str) -> BuildOutcome:
    """Check the wheel that a builder made; one that is not what the plan asked for is a failure like any other."""
    if result.wheel is None:
        assert result.failure is not None
        return BuildOutcome(failure=result.failure)
    data = result.wheel.read_bytes()
    try:
        facts = read_wheel(result.wheel.name, data)
        check_wheel(facts, plan)
        check_declared(facts, plan, log)
        if not plan.settings.patches:  # which may be there to change just that
            check_claims(facts, data, result.claims)
    except VerificationError as error:
        return BuildOutcome(failure=_failure_of(error, log))
    return BuildOutcome(data=data, facts=facts)


def _failure_of(error: VerificationError, log: str) -> Failure:
    if not error.reason.startswith(LOST_EXTENSION):
        kind = FailureClass.BAD_BINARY if error.reason.startswith(BAD_BINARY) else FailureClass.BAD_WHEEL
        proof = error.reason.removeprefix(BAD_BINARY)
        return Failure(failure_class=kind, proof=proof, hint=error.hint or "nothing of it is published")
    failure = Failure(failure_class=FailureClass.LOST_EXTENSION, proof=error.reason.removeprefix(LOST_EXTENSION), hint=error.hint)
    cause = classify(log)
    if cause.failure_class == FailureClass.UNKNOWN:
        return failure
    return replace(failure, hint=f"{failure.hint}; the log's first error is: {cause.proof}")


def _log_text(log: Path, folder: Path, limit: int) -> str:
    """Return a builder's log without the host's own path of the build folder, bounded, ending in a newline."""
    data = log.read_bytes()
    if len(data) > limit:
        half, dropped = limit // 2, len(data) - limit
        data = data[:half] + f"\nkiln: {dropped} bytes are left out here\n".encode() + data[-half:]
    text = data.decode("utf-8", errors="replace").replace(str(folder), "{work}")
    return text if not text or text.endswith("\n") else f"{text}\n"


def _leave_in_inbox(inbox: ObjectStore, payload: bytes, log: bytes, outcome: BuildOutcome, signer: Signer) -> None:
    bundle = hashlib.sha256(payload).hexdigest()
    inbox.put(f"{bundle}/{LOG_NAME}", log)
    if outcome.facts is not None:
        inbox.put(f"{bundle}/{outcome.facts.filename}", outcome.data)
    inbox.put(f"{bundle}/{ATTESTATION}", sign_envelope(payload, [signer]))
