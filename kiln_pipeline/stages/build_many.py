"""Build several plans at the same time, as many as the host has room for. Each build is `stages.build`'s; no second way.

One that fails, or that cannot run here, stops no other. What a build says is passed on by the thread that called, line by line,
so that a terminal and Dagster's log need no locks. When that thread is interrupted, every build under way is ended before the
interruption goes on; what was built until then is in the inbox.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.build_plan import BuildPlan
from kiln_pipeline.core.failures import FailureClass
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.errors import BuildError, UpstreamError
from kiln_pipeline.ports import Progress, WheelBuilder

_LOOK_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """What became of some plans, in the order of the plans whichever was done first."""

    attempts: tuple[Attempt, ...]
    refused: tuple[str, ...]
    """What cannot be built on this host or could not be asked of upstream: why. Nothing of it is recorded."""


class _Said:
    """A `Progress` that any thread may speak to; `pass_on` repeats it in the thread that calls that."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lines: SimpleQueue[str] = SimpleQueue()

    def step(self, text: str) -> None:
        self._lines.put(text)

    def pass_on(self) -> None:
        while True:
            try:
                line = self._lines.get_nowait()
            except Empty:
                return
            self._progress.step(line)


def build_many(
    plans: Sequence[BuildPlan],
    *,
    builders_for: Callable[[BuildIdentifier], Sequence[WheelBuilder]],
    build: Callable[[BuildPlan, WheelBuilder, Progress], Attempt],
    at_once: int,
    progress: Progress,
) -> Built:
    """Build the plans, at most `at_once` at the same time, with the first of the builders for each that can run.

    `build` makes one attempt (`stages.build.build_wheel` with all else that it wants); `builders_for` raises `BuildError` when
    there is no builder. What else a build raises is raised here, once all others have ended.
    """
    said, stopping = _Said(progress), threading.Event()
    builders = {plan.identifier: _builders(builders_for, plan.identifier) for plan in plans}

    def one(plan: BuildPlan) -> tuple[list[Attempt], str]:
        return _build_one(plan, builders[plan.identifier], build, said, stopping)

    with ThreadPoolExecutor(max_workers=max(1, at_once), thread_name_prefix="build") as executor:
        futures = [executor.submit(one, plan) for plan in plans]
        try:
            _wait(futures, said)
        except BaseException:
            stopping.set()
            executor.shutdown(wait=False, cancel_futures=True)
            _end(futures, [builder for able in builders.values() if not isinstance(able, str) for builder in able])
            raise
    results = [future.result() for future in futures]
    return Built(
        attempts=tuple(attempt for attempts, _ in results for attempt in attempts),
        refused=tuple(refusal for _, refusal in results if refusal),
    )


def _builders(
    builders_for: Callable[[BuildIdentifier], Sequence[WheelBuilder]], what: BuildIdentifier
) -> Sequence[WheelBuilder] | str:
    """Return the builders for an identifier, or why there is none: asked in one thread, since the answer is remembered."""
    try:
        return builders_for(what)
    except BuildError as error:
        return str(error)


def _build_one(
    plan: BuildPlan,
    builders: Sequence[WheelBuilder] | str,
    build: Callable[[BuildPlan, WheelBuilder, Progress], Attempt],
    progress: Progress,
    stopping: threading.Event,
) -> tuple[list[Attempt], str]:
    """Return the attempts at one plan, and why it could not be tried at all or to the end (else an empty string)."""
    if isinstance(builders, str):
        progress.step(f"cannot build {plan.release} {builders}")
        return [], builders
    attempts: list[Attempt] = []
    for builder in builders:
        if stopping.is_set():
            break
        try:
            attempt = build(plan, builder, progress)
        except (UpstreamError, BuildError) as error:  # no sdist, or no tool: nothing to record, and no reason to stop the others
            progress.step(f"cannot build {plan.release} {plan.identifier}: {error}")
            return attempts, str(error)
        attempts.append(attempt)
        # an engine that answers but cannot get its image says nothing about the package: the next builder may try
        if attempt.failure != FailureClass.ENGINE:
            break
    return attempts, ""


def _wait(futures: Sequence[Future[tuple[list[Attempt], str]]], said: _Said) -> None:
    left = set(futures)
    while left:
        _, left = wait(left, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
        said.pass_on()


def _end(futures: Sequence[Future[tuple[list[Attempt], str]]], builders: Sequence[WheelBuilder]) -> None:
    """Cancel until nothing is under way: a build that was still fetching its sdist starts its first child only then."""
    left = {future for future in futures if not future.done()}
    while left:
        for builder in {id(builder): builder for builder in builders}.values():
            builder.cancel()
        _, left = wait(left, timeout=_LOOK_SECONDS)
