"""Several builds at once: how many, in which order they are told, what a failing one stops, and that an interruption ends all."""

import _thread
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kiln_pipeline.adapters.processes import Children, run_logged
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.build_plan import BuildPlan, BuildResult, Failure
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.errors import BuildError, StoreError
from kiln_pipeline.ports import Progress, WheelBuilder
from kiln_pipeline.stages.build import build_wheel
from kiln_pipeline.stages.build_many import Built, build_many
from kiln_pipeline_tests.builds import MARKUPSAFE, SDISTS, plan_of
from kiln_pipeline_tests.fakes import MemorySigner, MemoryStore, MemoryUpstream, ScriptedBuilder
from kiln_pipeline_tests.workspaces import Clock

PLANS = [plan_of(MARKUPSAFE, f"cp3{minor}-manylinux_x86_64") for minor in (13, 9, 12, 10, 11)]


class Lines:
    """A `Progress` that remembers what was said, and by which thread."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.threads: set[int] = set()

    def step(self, text: str) -> None:
        self.said.append(text)
        self.threads.add(threading.get_ident())


class Sleeper(ScriptedBuilder):
    """Runs a real child for `seconds` before it makes the wheel, and knows how many it ran at the same time."""

    def __init__(self, seconds: float, failures: dict[str, Failure] | None = None) -> None:
        super().__init__(failures)
        self.seconds, self.children = seconds, Children()
        self.now, self.most, self.lock = 0, 0, threading.Lock()

    def build(self, plan: BuildPlan, sdist: Path, *, work: Path, log: Path) -> BuildResult:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            command = [sys.executable, "-I", "-S", "-c", f"import time; time.sleep({self.seconds})"]
            run_logged(command, cwd=work, environment={}, log=log, children=self.children)
        finally:
            with self.lock:
                self.now -= 1
        return super().build(plan, sdist, work=work, log=log)

    def cancel(self) -> None:
        self.children.cancel()


def run(
    builder: WheelBuilder,
    tmp_path: Path,
    *,
    at_once: int,
    plans: Sequence[BuildPlan] = PLANS,
    inbox: MemoryStore | None = None,
    progress: Progress | None = None,
    builders_for: Callable[[BuildIdentifier], Sequence[WheelBuilder]] | None = None,
    files: dict[str, bytes] | None = None,
) -> Built:
    upstream = MemoryUpstream({}, {MARKUPSAFE: (SDISTS / MARKUPSAFE).read_bytes()} if files is None else files)
    signer, clock, store = MemorySigner("host"), Clock(), inbox if inbox is not None else MemoryStore()

    def build(plan: BuildPlan, able: WheelBuilder, said: Progress) -> Attempt:
        return build_wheel(
            plan, builder=able, upstream=upstream, inbox=store, signer=signer, clock=clock, work=tmp_path, progress=said
        )  # fmt: skip

    return build_many(
        plans,
        builders_for=builders_for or (lambda _: (builder,)),
        build=build,
        at_once=at_once,
        progress=progress or Lines(),
    )


@pytest.mark.parametrize("at_once", [1, 3, 99])
def test_as_many_at_once_as_was_said_and_told_in_the_order_of_the_plans(tmp_path: Path, at_once: int) -> None:
    """Whichever is done first; and everything is said by the thread that called."""
    builder, lines = Sleeper(0.15), Lines()
    built = run(builder, tmp_path, at_once=at_once, progress=lines)
    assert [attempt.identifier for attempt in built.attempts] == [plan.identifier for plan in PLANS]
    assert builder.most <= at_once
    assert builder.most > 1 or at_once == 1
    assert lines.threads == {threading.get_ident()}
    assert all(any(line.startswith(f"{plan.release} {plan.identifier}: SUCCEEDED") for line in lines.said) for plan in PLANS)


def test_a_failing_build_stops_no_other(tmp_path: Path) -> None:
    """A compiler error, a builder that cannot run, no builder at all: each is told, and the rest is built."""

    class Broken(ScriptedBuilder):
        def build(self, plan: BuildPlan, sdist: Path, *, work: Path, log: Path) -> BuildResult:
            raise BuildError(subject="cibuildwheel-9", reason="cannot be installed")

    failure = Failure(failure_class="missing-header", proof="yaml.h", hint="")
    good, broken = Sleeper(0.05, {"cp312-manylinux_x86_64": failure}), Broken()

    def builders_for(identifier: BuildIdentifier) -> tuple[WheelBuilder, ...]:
        if identifier == PLANS[1].identifier:
            raise BuildError(subject=str(identifier), reason="no builder on this host")
        return (broken,) if identifier == PLANS[0].identifier else (good,)

    inbox = MemoryStore()
    built = run(good, tmp_path, at_once=3, inbox=inbox, builders_for=builders_for)
    assert [(str(attempt.identifier.python), attempt.failure) for attempt in built.attempts] == [
        ("cp312", "missing-header"),
        ("cp310", ""),
        ("cp311", ""),
    ]
    assert built.refused == ("cibuildwheel-9: cannot be installed", "cp39-manylinux_x86_64: no builder on this host")
    assert len([key for key in inbox.keys() if key.endswith(".json")]) == 3


def test_an_sdist_that_cannot_be_had_is_refused(tmp_path: Path) -> None:
    built = run(ScriptedBuilder(), tmp_path, at_once=2, plans=PLANS[:2], files={})
    assert (built.attempts, len(built.refused)) == ((), 2)
    assert "upstream answered 404" in built.refused[0]


def test_an_engine_that_cannot_get_its_image_leaves_it_to_the_next_builder(tmp_path: Path) -> None:
    """Both attempts are on record; any other failure is the package's, and ends it."""
    failure = Failure(failure_class="engine", proof="no such image", hint="")
    first, second = ScriptedBuilder({str(PLANS[0].identifier): failure}), ScriptedBuilder()
    built = run(first, tmp_path, at_once=2, plans=PLANS[:1], builders_for=lambda _: (first, second))
    assert [attempt.failure for attempt in built.attempts] == ["engine", ""]


def test_a_full_disk_is_raised_once_the_others_have_ended(tmp_path: Path) -> None:
    """What went to the inbox before stays there."""
    inbox = MemoryStore(fail_after=3)
    with pytest.raises(StoreError, match="no space left"):
        run(ScriptedBuilder(), tmp_path, at_once=1, inbox=inbox)
    assert len([key for key in inbox.keys() if key.endswith(".json")]) == 1


def test_ctrl_c_ends_every_build_and_records_none(tmp_path: Path) -> None:
    """Two under way, three waiting: no child is left, no folder, nothing in the inbox, and it takes no minute."""
    builder, inbox, started = Sleeper(60), MemoryStore(), time.monotonic()

    def press() -> None:
        deadline = time.monotonic() + 10
        while builder.now < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        _thread.interrupt_main(signal.SIGINT)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=press)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            run(builder, tmp_path, at_once=2, inbox=inbox)
    finally:
        thread.join()
        signal.signal(signal.SIGINT, previous)
    assert (builder.most, builder.now, builder.built, inbox.objects) == (2, 0, [], {})
    assert list(tmp_path.iterdir()) == []
    assert time.monotonic() - started < 30


def test_a_build_that_was_still_fetching_its_sdist_is_ended_too(tmp_path: Path) -> None:
    """Its first child starts after the interruption, and is ended all the same."""
    builder, fetching = Sleeper(60), threading.Event()
    data = (SDISTS / MARKUPSAFE).read_bytes()

    class SlowUpstream(MemoryUpstream):
        def download(self, file: object, folder: Path) -> Path:
            fetching.set()
            time.sleep(0.5)
            return super().download(replace(PLANS[0].sdist), folder)

    def build(plan: BuildPlan, able: WheelBuilder, said: Progress) -> Attempt:
        return build_wheel(
            plan, builder=able, upstream=SlowUpstream({}, {MARKUPSAFE: data}), inbox=MemoryStore(),
            signer=MemorySigner("host"), clock=Clock(), work=tmp_path, progress=said,
        )  # fmt: skip

    class Interrupting(Lines):
        def step(self, text: str) -> None:
            raise KeyboardInterrupt

    def builders_for(_: BuildIdentifier) -> tuple[WheelBuilder, ...]:
        return (builder,)

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        build_many(PLANS[:2], builders_for=builders_for, build=build, at_once=2, progress=Interrupting())
    assert fetching.is_set()
    assert (builder.now, builder.built) == (0, [])
    assert time.monotonic() - started < 30


def test_a_bug_is_no_refusal(tmp_path: Path) -> None:
    """Only errors on purpose are taken for the host's or upstream's affair."""

    class Wrong(ScriptedBuilder):
        def build(self, plan: BuildPlan, sdist: Path, *, work: Path, log: Path) -> BuildResult:
            raise RuntimeError("a bug of ours")

    with pytest.raises(RuntimeError, match="a bug of ours"):
        run(Wrong(), tmp_path, at_once=2)
