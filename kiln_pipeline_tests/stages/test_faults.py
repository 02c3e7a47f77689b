"""Crash points, lost answers and second publishers by the thousand: no reader ever sees a page that lies.

Three steps of a site's life (`steps`) are recorded and published with a fault at every single operation. A reader looks at the
site after each change that a store takes (`readers`), and afterwards a run without faults must end in the very bytes of a life
without any.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.core.distributions import ProjectPage
from kiln_pipeline.core.release_metadata import ProjectState, empty, empty_projects, replace_projects, replace_states
from kiln_pipeline.errors import StoreError, VerificationError
from kiln_pipeline.ports import ObjectStore
from kiln_pipeline.stages.log_tables import load_attempts
from kiln_pipeline.stages.publish import publish
from kiln_pipeline.stages.record import record
from kiln_pipeline_tests.audit_samples import FAILURE, HOSTS, LOG, Silent, sample_bundle, sample_plan
from kiln_pipeline_tests.core.simple_index.pages import upstream_file
from kiln_pipeline_tests.fakes import MemoryStore
from kiln_pipeline_tests.faulty_store import Fault, Faults, FaultyStore, Killed
from kiln_pipeline_tests.readers import Reader

WRAPT, LZ4 = sample_plan().sdist, sample_plan("lz4", "4.3.2").sdist
KINDS = [fault for fault in Fault if fault is not Fault.MEANWHILE]
Objects = dict[str, bytes]


def upstream(project: str, *files: object, **more: object) -> ProjectPage:
    return ProjectPage(project=project, files=files, versions=("1.0",), **more)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Step:
    """What arrives in the inbox, and what upstream has by then."""

    bundles: Sequence[tuple[str, Mapping[str, bytes]]]
    pages: Sequence[ProjectPage]
    superseded: frozenset[str] = frozenset()
    tables: tuple[object, object] = field(init=False)

    def __post_init__(self) -> None:
        pages = {page.project: page for page in self.pages}
        files = replace_projects(empty(), pages)
        states = replace_states(empty_projects(), {name: ProjectState.of(page) for name, page in pages.items()})
        object.__setattr__(self, "tables", (files, states))


@cache
def steps() -> tuple[Step, ...]:
    """Two wheels and a failure; then two more, one superseded, a project gone and one new; then a yank and a quarantine."""
    first = [
        sample_bundle(sample_plan()),
        sample_bundle(sample_plan(python="cp310"), failure=FAILURE, minutes=1),
        sample_bundle(sample_plan("lz4", "4.3.2"), minutes=2),
    ]
    superseded = next(name for name in first[0][1] if name.endswith(".whl"))
    bar, new = upstream("bar", upstream_file("bar-1.0.tar.gz")), upstream("new", upstream_file("new-1.0.tar.gz"))
    return (
        Step(bundles=first, pages=[bar, upstream("lz4", LZ4), upstream("wrapt", WRAPT)]),
        Step(
            bundles=[sample_bundle(sample_plan(python="cp39"), minutes=3), sample_bundle(sample_plan(python="cp38"), minutes=4)],
            pages=[upstream("lz4", LZ4), new, upstream("wrapt", WRAPT)],
            superseded=frozenset([superseded]),
        ),
        Step(
            bundles=[],
            pages=[upstream("lz4", status="quarantined"), upstream("wrapt", replace(WRAPT, yanked=True, yanked_reason="broken"))],
            superseded=frozenset([superseded]),
        ),
    )


class World:
    """Inbox, site and state, and the reader of the site."""

    def __init__(self, inbox: ObjectStore, site: ObjectStore, state: ObjectStore) -> None:
        self.stores = (inbox, site, state)
        self.reader = Reader(site)

    @classmethod
    def of(cls, objects: Sequence[Objects] = ({}, {}, {})) -> "World":
        world = cls(*(MemoryStore() for _ in range(3)))
        for store, each in zip(world.stores, objects, strict=True):
            store.objects = dict(each)  # type: ignore[attr-defined]
        world.reader.look()
        return world

    def objects(self) -> tuple[Objects, ...]:
        return tuple({key: store.get(key) for key in store.keys()} for store in self.stores)

    def deliver(self, step: Step) -> None:
        """What a build host does, which is not the matter here."""
        for bundle, files in step.bundles:
            for name in sorted(files, key=lambda name: name == "attestation.json"):
                self.stores[0].put(f"{bundle}/{name}", files[name])

    def run(self, step: Step, faults: Faults) -> None:
        """One run of the publisher, whom `faults` befall."""
        watches = (lambda _: None, self.reader.look, lambda _: None)
        inbox, site, state = (FaultyStore(store, faults, watch) for store, watch in zip(self.stores, watches, strict=True))
        record(inbox=inbox, site=site, state=state, log_signer=LOG, hosts=HOSTS, recipes=None, progress=Silent())
        files, states = step.tables
        publish(
            projects=[page.project for page in step.pages],
            metadata=lambda _: files,
            project_table=states,
            attempts=load_attempts(state, site),
            superseded=step.superseded,
            site=site,
            state=state,
            signer=LOG,
            progress=Silent(),
        )

    def run_with(self, step: Step, faults: Faults) -> bool:
        """Run, and say whether it came to its end."""
        try:
            self.run(step, faults)
        except (Killed, StoreError, VerificationError):
            return False
        return True


@cache
def lives() -> tuple[tuple[tuple[Objects, ...], tuple[Objects, ...], Faults], ...]:
    """For each step: the stores before it, those after it, and what counted the operations in between; without any fault."""
    world = World.of()
    found: list[tuple[tuple[Objects, ...], tuple[Objects, ...], Faults]] = []
    for step in steps():
        world.deliver(step)
        before, faults = world.objects(), Faults()
        world.run(step, faults)
        found.append((before, world.objects(), faults))
    return tuple(found)


def check_end(world: World, step: Step, after: tuple[Objects, ...]) -> None:
    """Run once more without faults: the stores must then be those of a life without any."""
    world.run(step, Faults())
    assert world.objects() == after


@pytest.mark.parametrize("number", range(3))
def test_a_fault_at_every_operation(number: int) -> None:
    """Each operation of each step, with each fault; within a write of many objects, again and again with others written."""
    step, (before, after, faultless) = steps()[number], lives()[number]
    points = list(product(range(faultless.count), (Fault.KILLED_AFTER, Fault.REFUSED, Fault.ANSWER_LOST), [0]))
    points += [(0, Fault.KILLED_BEFORE, 0), *product(faultless.wide, [Fault.KILLED_WITHIN], range(15))]
    seen: set[tuple[frozenset[tuple[str, bytes]], ...]] = set()
    for at, fault, seed in points:
        world = World.of(before)
        assert not world.run_with(step, Faults(plan={at: fault}, rng=random.Random(seed)))
        left = tuple(frozenset(objects.items()) for objects in world.objects())
        if left not in seen:  # what leaves the same behind ends the same
            seen.add(left)
            check_end(world, step, after)


def crashes_in_a_row(seed: int) -> None:
    """A step whose runs are killed, refused or left without an answer one after the other, until one comes to its end."""
    rng = random.Random(seed)
    number = rng.randrange(3)
    step, (before, after, faultless) = steps()[number], lives()[number]
    world = World.of(before)
    for _ in range(rng.randrange(1, 5)):
        plan = {rng.randrange(faultless.count): rng.choice(KINDS) for _ in range(rng.randrange(1, 3))}
        world.run_with(step, Faults(plan=plan, rng=rng))
    check_end(world, step, after)


def two_publishers(seed: int) -> None:
    """While one publisher is at work, another one does all of its own work, or dies at it, between two operations of the first.

    The lock of `kiln` keeps two of one host apart. Of two hosts nobody keeps apart, one is told so, and no reader notices.
    """
    rng = random.Random(seed)
    number = rng.randrange(3)
    step, (before, after, faultless) = steps()[number], lives()[number]
    world = World.of(before)
    plan = {rng.randrange(faultless.count): rng.choice(list(Fault))} if rng.random() < 0.5 else {}
    other = Faults(plan=plan, rng=rng)

    def meanwhile() -> None:
        world.run_with(step, other)

    world.run_with(step, Faults(plan={rng.randrange(faultless.count): Fault.MEANWHILE}, meanwhile=meanwhile))
    check_end(world, step, after)


def two_publishers_and_a_late_bundle(seed: int) -> None:
    """As before, and the second one finds a bundle that the first does not know of: two logs that differ are under way."""
    rng = random.Random(seed)
    number = rng.randrange(3)
    step, (before, _, faultless) = steps()[number], lives()[number]
    world = World.of(before)
    late = Step(bundles=[sample_bundle(sample_plan(python="cp312"), minutes=9)], pages=step.pages, superseded=step.superseded)
    other = Faults(plan={rng.randrange(faultless.count): rng.choice(list(Fault))} if rng.random() < 0.5 else {}, rng=rng)

    def meanwhile() -> None:
        world.deliver(late)
        world.run_with(step, other)

    world.run_with(step, Faults(plan={rng.randrange(faultless.count): Fault.MEANWHILE}, meanwhile=meanwhile))
    world.deliver(late)
    world.run(step, Faults())
    left = world.objects()
    bundles = [bundle for earlier in steps()[: number + 1] for bundle, _ in earlier.bundles] + [late.bundles[0][0]]
    recorded = [attempt.statement_sha256 for attempt in load_attempts(world.stores[2], world.stores[1])]
    assert sorted(recorded) == sorted(bundles), "each attempt is in the log, and once"
    assert left[0] == {}
    check_end(world, step, left)


def stale_reads(seed: int) -> None:
    """A store that shows for a while what was there before: a run may refuse to go on, and the next one does not."""
    rng = random.Random(seed)
    number = rng.randrange(3)
    step, (before, after, _) = steps()[number], lives()[number]
    world = World.of(before)
    world.run_with(step, Faults(lag=rng.randrange(1, 40), rng=rng))
    check_end(world, step, after)


SCENARIOS = [crashes_in_a_row, two_publishers, two_publishers_and_a_late_bundle, stale_reads]


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("part", range(4))
def test_faults_by_chance(scenario, part: int) -> None:  # type: ignore[no-untyped-def]
    for seed in range(25 * part, 25 * (part + 1)):
        scenario(seed)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("part", range(8))
def test_many_more_faults_by_chance(scenario, part: int) -> None:  # type: ignore[no-untyped-def]
    for seed in range(1000 + 100 * part, 1000 + 100 * (part + 1)):
        scenario(seed)


def test_the_folder_store_at_every_operation(tmp_path: Path) -> None:
    """The same over folders, where a killed writer leaves the half of a temporary file: the second step, killed everywhere."""
    step, (before, after, faultless) = steps()[1], lives()[1]
    for at in range(0, faultless.count, 8):
        for fault in (Fault.KILLED_AFTER, Fault.KILLED_WITHIN):
            stores = [DirectoryStore(tmp_path / f"{at}-{fault}" / name) for name in ("inbox", "site", "state")]
            for store, objects in zip(stores, before, strict=True):
                for key, data in objects.items():
                    path = store.folder / key
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
            world = World(*stores)
            world.reader.look()
            assert not world.run_with(step, Faults(plan={at: fault}, rng=random.Random(at)))
            check_end(world, step, after)


def test_the_reader_notices_each_lie() -> None:
    """The reader himself, on a site that somebody damaged."""
    _, (_, site, _), _ = lives()[0]
    wheel = next(key for key in site if key.endswith(".whl"))
    lies: list[Objects] = [
        {**site, wheel: b"other bytes"},
        {key: data for key, data in site.items() if key != wheel},
        {key: data for key, data in site.items() if key != f"{wheel}.metadata"},
        {key: data for key, data in site.items() if key != f"{wheel}.provenance.json"},
        {key: data for key, data in site.items() if key != "simple/bar/index.html"},
        {key: data for key, data in site.items() if key != "audit/checkpoint"},
        {key: data for key, data in site.items() if not key.startswith("audit/tile/0")},
    ]
    for lie in lies:
        with pytest.raises((AssertionError, KeyError, StoreError)):
            World.of(({}, lie, {}))
