"""The audit of a whole site: quiet when all is well, one line for each thing that is not, and it goes on where it stopped."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey, sign_checkpoint
from kiln_pipeline.core.audit_log.merkle import EMPTY_ROOT
from kiln_pipeline.core.distributions import ProjectPage
from kiln_pipeline.core.simple_index.render import root_json
from kiln_pipeline.errors import VerificationError
from kiln_pipeline.stages.audit import PROGRESS, AuditReport, audit
from kiln_pipeline.stages.audit_entry import unproven
from kiln_pipeline.stages.detect import refresh
from kiln_pipeline.stages.record import load_attempts, record
from kiln_pipeline_tests.audit_samples import FAILURE, HOSTS, LOG, Silent, put_bundle, sample_bundle, sample_plan
from kiln_pipeline_tests.fakes import MemoryStore, MemoryUpstream
from kiln_pipeline_tests.stages.test_verify import publish

KEY = str(VerifierKey.of(LOG))


@dataclass
class Publisher:
    """A site with a few attempts on record, published."""

    site: MemoryStore
    state: MemoryStore
    minutes: int = 0

    def add(self, count: int, *, wheel: bool = False) -> tuple[Attempt, ...]:
        inbox = MemoryStore()
        for _ in range(count):
            self.minutes += 1
            put_bundle(inbox, sample_bundle(sample_plan(python="cp310"), failure=FAILURE, minutes=self.minutes))
        if wheel:
            put_bundle(inbox, sample_bundle(sample_plan(), minutes=self.minutes))
        return record(
            inbox=inbox, site=self.site, state=self.state, log_signer=LOG, hosts=HOSTS, recipes=None, progress=Silent()
        ).recorded

    def audit(self, *, full: bool = False) -> AuditReport:
        return audit(site=self.site, state=self.state, log_key=KEY, full=full, progress=Silent())


@pytest.fixture
def publisher() -> Publisher:
    made = Publisher(MemoryStore(), MemoryStore())
    attempts = made.add(4, wheel=True)
    page = ProjectPage(project="wrapt", files=(sample_plan().sdist,), versions=("1.14.0",))
    now = datetime(2026, 11, 1, tzinfo=UTC)
    refresh(["wrapt"], upstream=MemoryUpstream({"wrapt": page}), state=made.state, now=now, progress=Silent())
    publish(made.site, attempts)
    made.site.put(site_layout.SIMPLE_ROOT_JSON, root_json(["wrapt"]))
    return made


def wheel_of(publisher: Publisher) -> str:
    return next(key for key in publisher.site.objects if key.endswith(".whl"))


def test_a_sound_site_has_no_differences_and_is_read_once(publisher: Publisher):
    """The second run reads a seventh again, and what is new."""
    assert publisher.audit() == AuditReport(size=5, read=5, verified=5)
    assert publisher.audit() == AuditReport(size=5, read=1, verified=5)
    publisher.add(2)
    assert publisher.audit() == AuditReport(size=7, read=3, verified=7)
    assert publisher.audit(full=True) == AuditReport(size=7, read=7, verified=7)


def test_seven_runs_read_everything_again(publisher: Publisher):
    """In turn, with no entry left out, whatever the size."""
    publisher.audit()
    wheel = wheel_of(publisher)
    publisher.site.objects[wheel] += b"x"
    found = [publisher.audit().differences for _ in range(7)]
    assert any(found)
    assert found[-1], "a difference that was found is found again until it is gone"


@pytest.mark.parametrize("full", [False, True])
def test_nothing_before_the_first_record(full: bool):
    assert Publisher(MemoryStore(), MemoryStore()).audit(full=full) == AuditReport(size=0, read=0, verified=0)


def altered(key: Callable[[Publisher], str]) -> Callable[[Publisher], None]:
    def change(publisher: Publisher) -> None:
        data = bytearray(publisher.site.objects[key(publisher)])
        data[len(data) // 2] ^= 1
        publisher.site.objects[key(publisher)] = bytes(data)

    return change


def gone(key: Callable[[Publisher], str]) -> Callable[[Publisher], None]:
    return lambda publisher: publisher.site.delete(key(publisher))


def below(prefix: str, suffix: str = "") -> Callable[[Publisher], str]:
    return lambda publisher: next(k for k in sorted(publisher.site.objects) if k.startswith(prefix) and k.endswith(suffix))


def unknown_wheel(publisher: Publisher) -> None:
    publisher.site.put(wheel_of(publisher).replace("-1-", "-2-"), b"who put me here")


def other_hash_on_the_page(publisher: Publisher) -> None:
    key = site_layout.project_json("wrapt")
    publisher.site.put(key, publisher.site.objects[key].replace(b'"sha256":"', b'"sha256":"f', 1))


@pytest.mark.parametrize(
    ("change", "about", "word"),
    [
        (altered(wheel_of), "wheels/", "the log has"),
        (gone(wheel_of), "wheels/", "gone"),
        (altered(below("wheels/", ".metadata")), "wheels/", "the log has"),
        (altered(below("wheels/", ".provenance.json")), "wheels/", ""),
        (gone(below("wheels/", ".provenance.json")), "wheels/", "gone"),
        (altered(below("audit/logs/")), "audit/logs/", "the log has"),
        (gone(below("audit/logs/")), "audit/logs/", "gone"),
        (altered(below("audit/entries/")), "audit/entries/", ""),
        (gone(below("audit/entries/")), "audit/entries/", "gone"),
        (altered(below("audit/tile/entries/")), "entry ", "other entries than"),
        (altered(lambda _: site_layout.AUDIT_README), "audit/README", "not the page"),
        (gone(lambda _: site_layout.AUDIT_README), "audit/README", "not the page"),
        (unknown_wheel, "wheels/", "does not know it"),
        (other_hash_on_the_page, "simple/wrapt/", "not the ones that the publisher signed"),
        (altered(below("simple/wrapt/attestation")), "simple/wrapt/", ""),
        (lambda publisher: publish(publisher.site, ()), "wheels/", "the page does not list it"),
    ],
)
def test_every_difference_is_named(publisher: Publisher, change: Callable[[Publisher], None], about: str, word: str):
    """The key and what is wrong with it; and again in each full run, and when nothing was verified before."""
    publisher.audit()
    change(publisher)
    for fresh in (False, True):
        if fresh:
            publisher.state.delete(PROGRESS)
        differences = publisher.audit(full=not fresh).differences
        assert differences
        assert any(key.startswith(about) and word in text for key, text in differences), differences


def test_an_entry_in_doubt_is_not_verified(publisher: Publisher):
    """The watermark stops before it, so that no later run passes over it."""
    altered(below("audit/entries/"))(publisher)
    assert publisher.audit().verified == 0
    before = publisher.audit().differences
    assert before == publisher.audit().differences


@pytest.mark.parametrize(
    "change",
    [
        lambda publisher: publisher.site.put(site_layout.CHECKPOINT, sign_checkpoint(0, EMPTY_ROOT, LOG)),
        lambda publisher: publisher.site.delete(site_layout.CHECKPOINT),
        altered(below("audit/tile/0/")),
        altered(lambda _: site_layout.CHECKPOINT),
    ],
)
def test_a_log_that_cannot_be_believed_is_an_error(publisher: Publisher, change: Callable[[Publisher], None]):
    """Rolled back, gone, altered: nothing else is said then."""
    publisher.audit()
    change(publisher)
    with pytest.raises(VerificationError):
        publisher.audit()


def test_a_run_that_was_cut_off_is_resumed(publisher: Publisher):
    """Progress is noted after each bundle of 256."""
    publisher.add(256)

    class Killed(Exception):
        pass

    class Killer:
        def step(self, text: str) -> None:
            if "256 to" in text:
                raise Killed

    with pytest.raises(Killed):
        audit(site=publisher.site, state=publisher.state, log_key=KEY, full=False, progress=Killer())
    assert publisher.audit() == AuditReport(size=261, read=37 + 5, verified=261)


def test_unproven_wheels(publisher: Publisher):
    """What the blocking check asks: each published wheel's entry, by its own provenance file."""
    attempts = load_attempts(publisher.state, publisher.site)
    assert unproven(publisher.site, KEY, attempts) == ()
    key = below("wheels/", ".provenance.json")
    gone(key)(publisher)
    ((name, reason),) = unproven(publisher.site, KEY, attempts)
    assert name.endswith(".provenance.json")
    assert "gone" in reason
