"""Recording: what verifies is in the log once, whatever happens; what does not is moved aside and named."""

import base64
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import pytest

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey, open_checkpoint, sign_checkpoint
from kiln_pipeline.core.hosts import Host
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.core.provenance.dsse import sign_envelope, unverified_payload
from kiln_pipeline.core.provenance.wheel_bundle import parse_bundle, verify_bundle
from kiln_pipeline.errors import StoreError, VerificationError
from kiln_pipeline.stages.append import LAST_CHECKPOINT
from kiln_pipeline.stages.log_tables import ATTEMPTS, REBUILDS, load_attempts
from kiln_pipeline.stages.record import RecordReport, record, refused_bundles
from kiln_pipeline_tests.audit_samples import (
    FAILURE,
    HOST,
    HOSTS,
    LOG,
    RECIPE_SHA256,
    Silent,
    put_bundle,
    sample_bundle,
    sample_plan,
)
from kiln_pipeline_tests.fakes import MemorySigner, MemoryStore

KEY = VerifierKey.of(LOG)


class Stores:
    """The three stores of a publisher, which share one budget of writes and deletions when `left` is set."""

    def __init__(self, inbox: Mapping[str, bytes] | None = None) -> None:
        self.left: int | None = None
        self.inbox, self.site, self.state = FaultyStore(self), FaultyStore(self), FaultyStore(self)
        self.inbox.objects.update(inbox or {})

    def record(self, *, hosts: Mapping[str, Host] = HOSTS, recipes: Mapping[str, str] | None = None) -> RecordReport:
        return record(
            inbox=self.inbox, site=self.site, state=self.state, log_signer=LOG, hosts=hosts, recipes=recipes, progress=Silent()
        )

    def objects(self) -> tuple[dict[str, bytes], dict[str, bytes], dict[str, bytes]]:
        return dict(self.inbox.objects), dict(self.site.objects), dict(self.state.objects)


class FaultyStore(MemoryStore):
    """A `MemoryStore` that is killed before the first write or deletion above the budget."""

    def __init__(self, stores: Stores) -> None:
        super().__init__()
        self.stores = stores

    def _spend(self, key: str) -> None:
        if self.stores.left is not None:
            if self.stores.left == 0:
                raise StoreError(key=key, reason="killed")
            self.stores.left -= 1

    def put(self, key: str, data: bytes) -> None:
        self._spend(key)
        super().put(key, data)

    def delete(self, key: str) -> None:
        if key in self.objects:
            self._spend(key)
        super().delete(key)


def three_bundles() -> list[tuple[str, dict[str, bytes]]]:
    return [
        sample_bundle(sample_plan()),
        sample_bundle(sample_plan(python="cp310"), failure=FAILURE, minutes=1),
        sample_bundle(sample_plan("lz4", "4.3.2"), minutes=2),
    ]


def filled(bundles: list[tuple[str, dict[str, bytes]]]) -> Stores:
    stores = Stores()
    for bundle in bundles:
        put_bundle(stores.inbox, bundle)
    return stores


def test_a_success_and_a_failure_are_recorded():
    """Both are in the log, in the order in which they ended; the wheel has its provenance; the inbox is empty."""
    bundles = three_bundles()
    stores = filled(bundles)
    report = stores.record(recipes={"wrapt": RECIPE_SHA256, "lz4": "0" * 64})
    assert [attempt.statement_sha256 for attempt in report.recorded] == [bundle for bundle, _ in bundles]
    assert [(attempt.index, attempt.outcome, attempt.wheel) for attempt in report.recorded] == [
        (0, Outcome.SUCCEEDED, "wrapt-1.14.0-1-cp311-cp311-macosx_11_0_arm64.whl"),
        (1, Outcome.FAILED, ""),
        (2, Outcome.SUCCEEDED, "lz4-4.3.2-1-cp311-cp311-macosx_11_0_arm64.whl"),
    ]
    assert report.recorded[1].proof == "wrapt.c:1: error: 'é' \\udc80"
    assert report.notes == ((bundles[2][0], "it was built with another recipe than the one now in force"),)
    assert (report.refused, report.already, report.size) == ((), (), 3)
    assert stores.inbox.objects == {}
    wheel = report.recorded[0].wheel
    logs = sorted(site_layout.build_log(attempt.log_sha256) for attempt in report.recorded)
    assert sorted(stores.site.objects) == sorted(
        [
            *(key for a in report.recorded if a.wheel for key in (
                site_layout.wheel(a.wheel), site_layout.wheel_metadata(a.wheel), site_layout.wheel_provenance(a.wheel))),
            *logs,
            *(site_layout.attempt_statement(attempt.statement_sha256) for attempt in report.recorded),
            "audit/tile/0/000.p/3",
            "audit/tile/entries/000.p/3",
            site_layout.CHECKPOINT,
            site_layout.LOG_KEY,
            site_layout.AUDIT_README,
        ]
    )  # fmt: skip
    assert stores.site.objects[site_layout.wheel(wheel)] == bundles[0][1][wheel]
    provenance = parse_bundle(stores.site.objects[site_layout.wheel_provenance(wheel)], wheel)
    assert replace(verify_bundle(provenance, KEY).statement.attempt, index=0) == report.recorded[0]
    assert stores.site.objects[site_layout.LOG_KEY] == f"{KEY}\n".encode()
    assert load_attempts(stores.state, stores.site) == report.recorded


def test_the_order_of_writes():
    """Files before the log, the state's checkpoint before the site's, provenance after the log, the table last."""
    stores = filled(three_bundles()[:1])
    stores.record()
    assert [key.split("/")[0] + "/" + key.split("/")[1][:5] for key in stores.site.puts] == [
        "wheels/wrapt", "wheels/wrapt", "audit/logs", "audit/entri", "audit/tile", "audit/tile", "audit/log.v", "audit/check",
        "wheels/wrapt", "audit/READM",
    ]  # fmt: skip
    batch, *rest = stores.state.puts
    assert batch.startswith("log_batches/")
    assert rest == [LAST_CHECKPOINT, REBUILDS, ATTEMPTS]


def test_an_empty_inbox_writes_nothing():
    """Before the first entry there is no log; afterwards an idle run leaves every store as it is."""
    stores = Stores()
    assert stores.record() == RecordReport()
    assert stores.objects() == ({}, {}, {})
    assert load_attempts(stores.state, stores.site) == ()
    put_bundle(stores.inbox, three_bundles()[0])
    stores.record()
    before, puts = stores.objects(), len(stores.site.puts) + len(stores.state.puts)
    assert stores.record() == RecordReport(size=1)
    assert (stores.objects(), len(stores.site.puts) + len(stores.state.puts)) == (before, puts)


def test_killed_at_any_write_the_next_run_ends_in_the_same_bytes():
    """After every single put or deletion: no published checkpoint is taken back, and the second run ends where one would have."""
    bundles = three_bundles()
    refused_id, refused_files = sample_bundle(sample_plan("pyyaml", "5.4"), signer=MemorySigner("stranger"))
    wanted = filled([*bundles, (refused_id, refused_files)])
    wanted.record()
    steps = 0
    while True:
        stores = filled([*bundles, (refused_id, refused_files)])
        stores.left = steps
        try:
            stores.record()
            break
        except StoreError:
            pass
        note = stores.site.objects.get(site_layout.CHECKPOINT)
        stores.left = None
        stores.record()
        assert stores.objects() == wanted.objects(), f"killed after {steps} writes"
        assert note in (None, stores.site.objects[site_layout.CHECKPOINT])
        steps += 1
    assert steps > 30


@pytest.mark.parametrize(
    ("first", "partials"),
    [
        pytest.param(253, ["audit/tile/1/000.p/1"], marks=pytest.mark.slow),
        (254, ["audit/tile/0/001.p/1", "audit/tile/1/000.p/1", "audit/tile/entries/001.p/1"]),
    ],
)
def test_killed_while_tiles_fill_up(first: int, partials: list[str]):
    """Across the boundary of a tile too, where partial tiles are removed; what arrives meanwhile goes into the next batch."""
    log_of = [sample_bundle(sample_plan(), failure=FAILURE, minutes=minute) for minute in range(first + 3)]
    base = filled(log_of[:first])
    base.record()
    wanted = Stores()
    for ours, theirs in zip((wanted.inbox, wanted.site, wanted.state), base.objects(), strict=True):
        ours.objects.update(theirs)
    for bundle in log_of[first:]:
        put_bundle(wanted.inbox, bundle)
    wanted.record()
    assert [key for key in wanted.site.keys() if ".p/" in key] == partials
    steps = 0
    while True:
        stores = Stores()
        for ours, theirs in zip((stores.inbox, stores.site, stores.state), base.objects(), strict=True):
            ours.objects.update(theirs)
        for bundle in log_of[first:]:
            put_bundle(stores.inbox, bundle)
        stores.left = steps
        try:
            stores.record()
            break
        except StoreError:
            stores.left = None
            stores.record()
        assert stores.objects() == wanted.objects(), f"killed after {steps} writes"
        steps += 1


def test_a_bundle_that_arrives_after_a_crash_does_not_change_earlier_provenance():
    """The wheel of the run that was cut off gets the provenance that it would have had."""
    first, _, third = three_bundles()
    wanted = filled([first])
    wanted.record()
    key = next(key for key in wanted.site.objects if key.endswith(".provenance.json"))
    stores = filled([first])
    stores.left = 10
    with pytest.raises(StoreError):
        stores.record()
    assert site_layout.CHECKPOINT in stores.site.objects
    assert key not in stores.site.objects
    stores.left = None
    put_bundle(stores.inbox, third)
    assert (stores.record().already, stores.record().already) == ((first[0],), ())
    assert stores.site.objects[key] == wanted.site.objects[key]


def test_a_replayed_bundle_is_not_appended_again():
    """The same statement twice is one attempt."""
    stores = filled(three_bundles())
    stores.record()
    before = stores.objects()
    put_bundle(stores.inbox, three_bundles()[0])
    assert stores.record() == RecordReport(already=(three_bundles()[0][0],), size=3)
    assert stores.objects() == before


def altered(files: dict[str, bytes], **changes: bytes | None) -> dict[str, bytes]:
    return {name: data for name, data in (files | changes).items() if data is not None}


def swapped(bundle: tuple[str, dict[str, bytes]], name: str, data: bytes | None) -> tuple[str, dict[str, bytes]]:
    return bundle[0], altered(bundle[1], **{name: data})


def not_deflated(wheel: bytes) -> bytes:
    """The second member says that it is deflated, and is not."""
    altered = bytearray(wheel)
    for signature, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        altered[wheel.index(signature, wheel.index(signature) + 1) + offset] = 8
    return bytes(altered)


def bad_bundles() -> dict[str, tuple[tuple[str, dict[str, bytes]], str]]:
    """What a broken or hostile host can send, and a word of the reason."""
    good = sample_bundle(sample_plan())
    wheel = next(name for name in good[1] if name.endswith(".whl"))
    other = sample_bundle(sample_plan(), requires_python=">=3.7")
    stranger = MemorySigner("stranger")
    payload = unverified_payload(good[1]["attestation.json"])
    return {
        "an unknown host": (sample_bundle(sample_plan(), signer=stranger), "not enrolled"),
        "another platform than it is enrolled for": (
            sample_bundle(replace(sample_plan(), identifier=BuildIdentifier.parse("cp311-musllinux_x86_64"))),
            "not for musllinux_x86_64",
        ),
        "another host's key": (sample_bundle(sample_plan(), signer=stranger, host=HOST.name), "is missing"),
        "a second signer": (swapped(good, "attestation.json", sign_envelope(payload, [HOST, stranger])), "unknown key"),
        "another id": (("0" * 64, good[1]), "its name is not"),
        "no attestation": (swapped(good, "attestation.json", b"{}\n"), "wrong fields"),
        "an altered log": (swapped(good, "build.log.gz", b"log"), "not the one"),
        "no log": (swapped(good, "build.log.gz", None), "should hold"),
        "no wheel": (swapped(good, wheel, None), "should hold"),
        "another file": (swapped(good, "extra.txt", b""), "should hold"),
        "another wheel": (swapped(good, wheel, other[1][wheel]), "sha256"),
        "a wheel that is no zip": (sample_bundle(sample_plan(), damage=lambda data: data[:-30]), "no valid zip"),
        "a wheel that cannot be unpacked": (sample_bundle(sample_plan(), damage=not_deflated), "no valid zip"),
        "another build tag": (sample_bundle(sample_plan(), wheel_build="2"), "build tag"),
        "a failure with a wheel": (
            (lambda failed: (failed[0], failed[1] | {wheel: good[1][wheel]}))(sample_bundle(sample_plan(), failure=FAILURE)),
            "should hold",
        ),
    }


@pytest.mark.parametrize("case", bad_bundles())
def test_a_bad_bundle_is_moved_aside_and_stalls_no_other(case: str):
    """It is named with its reason, kept whole for whoever looks, and the good one beside it is recorded."""
    bundle, word = bad_bundles()[case]
    good = sample_bundle(sample_plan("lz4", "4.3.2"), minutes=2)
    stores = filled([bundle, good])
    report = stores.record()
    assert [attempt.statement_sha256 for attempt in report.recorded] == [good[0]]
    assert [name for name, _ in report.refused] == [bundle[0]]
    assert word in report.refused[0][1]
    expected = {f"refused/{bundle[0]}/{name}": data for name, data in bundle[1].items()}
    expected[f"refused/{bundle[0]}/reason.txt"] = f"{report.refused[0][1]}\n".encode()
    assert stores.inbox.objects == expected
    assert refused_bundles(stores.inbox) == report.refused
    assert stores.record() == RecordReport(size=1)
    assert not any(key.startswith("wheels/wrapt") for key in stores.site.objects)


def test_what_was_refused_is_out_of_reach():
    """Nothing written into ``refused/`` from outside makes a run touch what lies there."""
    stores = filled([bad_bundles()["no log"][0]])
    stores.record()
    stores.inbox.put("refused/attestation.json", b"{}")
    before = stores.objects()
    assert stores.record() == RecordReport()
    assert stores.objects() == before


def test_a_revoked_host_is_refused_and_its_old_entries_stay():
    """Enrolment counts when a bundle is recorded; the entry binds the key that was enrolled then."""
    stores = filled(three_bundles()[:1])
    stores.record()
    put_bundle(stores.inbox, three_bundles()[1])
    revoked = replace(HOSTS[HOST.name], revoked=date(2026, 11, 2), reason="the disk was sold")
    report = stores.record(hosts={HOST.name: revoked})
    assert "revoked on 2026-11-02: the disk was sold" in report.refused[0][1]
    stores.state.objects.pop(ATTEMPTS)
    assert len(load_attempts(stores.state, stores.site)) == 1


def test_an_incomplete_bundle_is_left_alone():
    """The attestation is written last: without it, a host is still writing."""
    bundle, files = three_bundles()[0]
    stores = filled([(bundle, altered(files, **{"attestation.json": None}))])
    before = stores.objects()
    assert stores.record() == RecordReport()
    assert stores.objects() == before


def test_a_wheel_name_that_is_taken_is_refused():
    """A published file is never overwritten, whoever signs the second one."""
    stores = filled(three_bundles()[:1])
    stores.record()
    wheel = three_bundles()[0][1].keys()
    name = site_layout.wheel(next(name for name in wheel if name.endswith(".whl")))
    before = stores.site.objects[name]
    put_bundle(stores.inbox, sample_bundle(sample_plan(), requires_python=">=3.7", minutes=9))
    report = stores.record()
    assert "exists already with other bytes" in report.refused[0][1]
    assert (stores.site.objects[name], report.size) == (before, 1)


def rolled_back(stores: Stores, earlier: dict[str, bytes]) -> None:
    """The site is what it was before the last run."""
    stores.site.objects = earlier


def forked(stores: Stores, earlier: dict[str, bytes]) -> None:
    """The same key signed another continuation: the state of one history meets the site of another."""
    other = Stores()
    other.site.objects = dict(earlier)
    put_bundle(other.inbox, sample_bundle(sample_plan("pyyaml", "5.4")))
    other.record()
    stores.site.objects = other.site.objects


def of_another_key(stores: Stores, earlier: dict[str, bytes]) -> None:
    stores.site.objects[site_layout.CHECKPOINT] = sign_checkpoint(2, bytes(32), MemorySigner("kiln.invalid/other"))


def of_another_root(stores: Stores, earlier: dict[str, bytes]) -> None:
    stores.site.objects[site_layout.CHECKPOINT] = sign_checkpoint(2, bytes(32), LOG)


def with_another_log_key(stores: Stores, earlier: dict[str, bytes]) -> None:
    stores.site.objects[site_layout.LOG_KEY] = f"{VerifierKey.of(MemorySigner(LOG.name + '2'))}\n".encode()


def with_a_torn_tile(stores: Stores, earlier: dict[str, bytes]) -> None:
    stores.site.objects["audit/tile/0/000.p/2"] = b"torn"


def without_a_tile(stores: Stores, earlier: dict[str, bytes]) -> None:
    del stores.site.objects["audit/tile/0/000.p/2"]


@pytest.mark.parametrize(
    "damage", [rolled_back, forked, of_another_key, of_another_root, with_another_log_key, with_a_torn_tile, without_a_tile]
)
def test_a_log_that_does_not_continue_is_refused(damage):
    """A rollback, a fork, another key, a damaged tile: an error that says what to do, and nothing is written."""
    first, second, third = three_bundles()
    stores = filled([first])
    stores.record()
    earlier = dict(stores.site.objects)
    put_bundle(stores.inbox, second)
    stores.record()
    damage(stores, earlier)
    put_bundle(stores.inbox, third)
    before = stores.objects()
    with pytest.raises(VerificationError) as refusal:
        stores.record()
    assert refusal.value.hint
    assert stores.objects() == before


def test_a_lost_checkpoint_is_published_again():
    """Only the checkpoint went back, the entries are all there: the one that was signed is put again, byte for byte."""
    first, second, _ = three_bundles()
    stores = filled([first])
    stores.record()
    old = stores.site.objects[site_layout.CHECKPOINT]
    put_bundle(stores.inbox, second)
    stores.record()
    new = stores.site.objects[site_layout.CHECKPOINT]
    stores.site.objects[site_layout.CHECKPOINT] = old
    stores.record()
    assert stores.site.objects[site_layout.CHECKPOINT] == new


def test_a_lost_state_is_made_anew_from_the_site():
    """The table is derived: without it, or with a torn one, the log is read again to the same bytes."""
    stores = filled(three_bundles())
    attempts = stores.record().recorded
    state = dict(stores.state.objects)
    for damaged in ({}, {ATTEMPTS: b"torn"}, {LAST_CHECKPOINT: state[LAST_CHECKPOINT]}):
        stores.state.objects = dict(damaged)
        assert load_attempts(stores.state, stores.site) == attempts
        stores.record()
        assert stores.state.objects == {key: data for key, data in state.items() if not key.startswith("log_batches/")}


def test_the_table_continues_where_it_ends():
    """A reader whose table is older than the log takes the rest from the log."""
    first, second, third = three_bundles()
    stores = filled([first])
    stores.record()
    old = dict(stores.state.objects)
    for bundle in (second, third):
        put_bundle(stores.inbox, bundle)
    stores.record()
    new = load_attempts(stores.state, stores.site)
    stores.state.objects = old
    stores.site.objects[site_layout.attempt_statement(first[0])] = b"not read again"
    assert load_attempts(stores.state, stores.site) == new


def test_a_second_publisher_is_noticed_before_anything_is_signed():
    """While one run verifies, another appends: the first signs nothing."""
    first, second, _ = three_bundles()
    stores, rival = filled([first]), filled([second])
    rival.site, rival.state = stores.site, stores.state

    class Meddling(Silent):
        def step(self, text: str) -> None:
            rival.record()

    put_bundle(stores.inbox, ("0" * 64, first[1]))  # refused, which is the moment at which the rival strikes
    with pytest.raises(VerificationError, match="another publisher"):
        record(
            inbox=stores.inbox, site=stores.site, state=stores.state, log_signer=LOG, hosts=HOSTS, recipes=None,
            progress=Meddling(),
        )  # fmt: skip
    assert open_checkpoint(stores.site.objects[site_layout.CHECKPOINT], KEY).size == 1
    assert [attempt.statement_sha256 for attempt in stores.record().recorded] == [first[0]]


def test_statements_and_provenance_are_plain_json():
    """People and other tools read them: an in-toto statement inside a DSSE envelope, at a known place."""
    stores = filled(three_bundles()[:1])
    stores.record()
    key = next(key for key in stores.site.objects if key.endswith(".provenance.json"))
    provenance = json.load(io.BytesIO(stores.site.objects[key]))
    assert provenance["envelope"] == json.loads(stores.site.objects[site_layout.attempt_statement(three_bundles()[0][0])])
    entry = json.loads(provenance["entry"])
    wheel = hashlib.sha256(stores.site.objects[key.removesuffix(".provenance.json")])
    assert entry["attempt"] == "wrapt==1.14.0 cp311-macosx_arm64"
    assert base64.urlsafe_b64decode(f"{entry['wheel']}=") == wheel.digest()


def test_attempts_are_equal_however_they_were_read():
    """The report, the table and the log agree on whole objects."""
    stores = filled(three_bundles())
    recorded = stores.record().recorded
    assert all(isinstance(attempt, Attempt) for attempt in recorded)
    from_table = load_attempts(stores.state, stores.site)
    assert load_attempts(MemoryStore(), stores.site) == from_table == recorded
