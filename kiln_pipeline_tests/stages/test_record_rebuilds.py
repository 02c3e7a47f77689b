"""Verdicts in the log: recorded once, proven, told by whoever verifies; and a forged one is refused by name."""

import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.core.provenance.dsse import sign_envelope, unverified_payload
from kiln_pipeline.core.provenance.rebuild_statement import parse_rebuild_statement
from kiln_pipeline.core.provenance.wheel_bundle import REBUILD_MEDIA_TYPE, parse_bundle, verify_rebuild
from kiln_pipeline.core.rebuilds import RebuildVerdict, sample, tell
from kiln_pipeline.core.strict_json import canonical
from kiln_pipeline.errors import ObjectNotFound, StoreError, VerificationError
from kiln_pipeline.stages.audit import audit
from kiln_pipeline.stages.index_check import check_site
from kiln_pipeline.stages.log_tables import ATTEMPTS, REBUILDS, load_attempts, load_rebuilds
from kiln_pipeline.stages.record import RecordReport, refused_bundles
from kiln_pipeline.stages.verify import verify_offline
from kiln_pipeline.stages.verify_rebuilds import tell_rebuilds
from kiln_pipeline_tests.audit_samples import FAILURE, HOST, LOG, Silent, put_bundle, sample_bundle, sample_plan
from kiln_pipeline_tests.fakes import MemorySigner, MemoryStore
from kiln_pipeline_tests.rebuild_samples import BOTH, ELSEWHERE, original_of, put_rebuild
from kiln_pipeline_tests.stages.test_record import Stores

KEY = VerifierKey.of(LOG)
V = RebuildVerdict


def published() -> tuple[Stores, Attempt]:
    """A log with a failure and a wheel."""
    stores = Stores()
    put_bundle(stores.inbox, sample_bundle(sample_plan(python="cp310"), failure=FAILURE))
    put_bundle(stores.inbox, sample_bundle(sample_plan(), minutes=1))
    return stores, stores.record(hosts=BOTH).recorded[1]


def told(stores: Stores, attempt: Attempt) -> str:
    return tell_rebuilds(attempt, attempt.index, fetch=stores.site.get, log_key=KEY, reader=None)


def test_every_verdict_is_recorded_proven_and_told() -> None:
    """In the order in which they ended; each has its files, its proof and its row, and the inbox is empty."""
    stores, attempt = published()
    original = original_of(attempt, stores.site)
    for minutes, verdict in enumerate(V):
        put_rebuild(stores.inbox, original, verdict, minutes=minutes)
    put_rebuild(stores.inbox, original, V.IDENTICAL, signer=HOST, minutes=9)
    report = stores.record(hosts=BOTH)
    assert [(rebuild.index, rebuild.verdict) for rebuild in report.rebuilds] == [*enumerate(V, 2), (6, V.IDENTICAL)]
    assert (report.recorded, report.refused, report.size, stores.inbox.objects) == ((), (), 7, {})
    assert load_rebuilds(stores.state, stores.site) == report.rebuilds
    assert [found.index for found in load_attempts(stores.state, stores.site)] == [0, 1]
    for number, rebuild in enumerate(report.rebuilds, 1):
        key = site_layout.rebuild_provenance(attempt.wheel, number)
        proven = verify_rebuild(parse_bundle(stores.site.get(key), key, REBUILD_MEDIA_TYPE), KEY)
        assert replace(proven.rebuild, index=rebuild.index) == rebuild
        assert (rebuild.difference_sha256 != "") == (rebuild.verdict in (V.EQUAL, V.DIFFERENT))
    different = report.rebuilds[2]
    assert gzip.decompress(stores.site.get(site_layout.rebuild_difference(different.difference_sha256))) == b"what differs\n"
    assert stores.site.exists(site_layout.rebuilt_wheel(different.rebuilt_sha256))
    assert told(stores, attempt) == (
        "rebuilt 4× elsewhere: 1 identical, 1 equal, 1 different, 1 not-rebuildable; 1× on its own build host: identical"
    )
    assert stores.record(hosts=BOTH) == RecordReport(size=7)


def test_the_audit_and_the_index_check_know_every_object() -> None:
    """Nothing is unowned or unknown, each file is read, and one that is altered or gone is named."""
    stores, attempt = published()
    put_rebuild(stores.inbox, original_of(attempt, stores.site), V.DIFFERENT)
    (rebuild,) = stores.record(hosts=BOTH).rebuilds

    def differences() -> list[str]:
        stores.state.delete("audit_progress.json")
        report = audit(site=stores.site, state=stores.state, log_key=str(KEY), full=True, progress=Silent())
        return [key for key, _ in report.differences]

    assert (differences(), check_site(stores.site, stores.state, progress=Silent())) == ([], ())
    wheel = site_layout.rebuilt_wheel(rebuild.rebuilt_sha256)
    for key, named in {
        wheel: wheel,
        site_layout.rebuild_difference(rebuild.difference_sha256): wheel,
        site_layout.rebuild_provenance(attempt.wheel, 1): site_layout.rebuild_provenance(attempt.wheel, 1),
        site_layout.build_log(rebuild.log_sha256): site_layout.build_log(rebuild.log_sha256),
    }.items():
        kept = stores.site.objects.pop(key)
        assert named in differences()
        assert [finding.key for finding in check_site(stores.site, stores.state, progress=Silent())] == [key]
        stores.site.objects[key] = kept[:-2] + b"xx"
        assert named in differences()
        stores.site.objects[key] = kept
    stores.site.put("audit/rebuilds/" + "0" * 64 + ".whl", b"from nowhere")
    assert differences() == ["audit/rebuilds/" + "0" * 64 + ".whl"]


def test_killed_at_any_write_the_next_run_ends_in_the_same_bytes() -> None:
    """Between inbox and log, and after: verdicts and attempts of one batch alike."""

    def filled() -> Stores:
        stores, attempt = published()
        original = original_of(attempt, stores.site)
        put_rebuild(stores.inbox, original, V.IDENTICAL)
        put_rebuild(stores.inbox, original, V.EQUAL, minutes=1)
        put_bundle(stores.inbox, sample_bundle(sample_plan("lz4", "4.3.2"), minutes=2000))
        return stores

    wanted = filled()
    wanted.record(hosts=BOTH)
    steps = 0
    while True:
        stores = filled()
        stores.left = steps
        try:
            stores.record(hosts=BOTH)
            break
        except StoreError:
            stores.left = None
        stores.record(hosts=BOTH)
        assert stores.objects() == wanted.objects(), f"killed after {steps} writes"
        steps += 1
    assert steps > 25


def test_a_lost_table_is_made_anew() -> None:
    """Also one of before rebuilds were recorded: the log is the record."""
    stores, attempt = published()
    put_rebuild(stores.inbox, original_of(attempt, stores.site), V.IDENTICAL)
    rebuilds = stores.record(hosts=BOTH).rebuilds
    state = dict(stores.state.objects)
    others = {key: data for key, data in state.items() if key not in (ATTEMPTS, REBUILDS)}
    for damaged in ({}, {ATTEMPTS: state[ATTEMPTS]}, {ATTEMPTS: state[ATTEMPTS], REBUILDS: b"torn"}):
        stores.state.objects = others | damaged
        assert load_rebuilds(stores.state, stores.site) == rebuilds
        stores.record(hosts=BOTH)
        assert stores.state.objects == state


def test_a_replayed_verdict_is_not_counted_twice() -> None:
    stores, attempt = published()
    original = original_of(attempt, stores.site)
    put_rebuild(stores.inbox, original, V.IDENTICAL)
    stores.record(hosts=BOTH)
    before = stores.objects()
    bundle = put_rebuild(stores.inbox, original, V.IDENTICAL)
    assert stores.record(hosts=BOTH) == RecordReport(already=(bundle,), size=3)
    assert stores.objects() == before


Forge = Callable[[Stores, Attempt], str]


def of_a_stranger(stores: Stores, attempt: Attempt) -> str:
    return put_rebuild(stores.inbox, original_of(attempt, stores.site), V.IDENTICAL, signer=MemorySigner("stranger"))


def in_anothers_name(stores: Stores, attempt: Attempt) -> str:
    original = original_of(attempt, stores.site)
    return put_rebuild(stores.inbox, original, V.IDENTICAL, signer=MemorySigner("stranger"), host=ELSEWHERE.name)


def of_another_log(stores: Stores, attempt: Attempt) -> str:
    return put_rebuild(stores.inbox, original_of(attempt, stores.site, origin="kiln.invalid/other"), V.IDENTICAL)


def of_another_entry(stores: Stores, attempt: Attempt) -> str:
    return put_rebuild(stores.inbox, replace(original_of(attempt, stores.site), index=0), V.IDENTICAL)


def of_a_wheel_that_the_log_does_not_have(stores: Stores, attempt: Attempt) -> str:
    original = original_of(attempt, stores.site)
    other = replace(original.statement, attempt=replace(attempt, wheel_sha256="4" * 64, index=-1))
    return put_rebuild(stores.inbox, replace(original, statement=other), V.DIFFERENT)


def resigned(stores: Stores, attempt: Attempt, verdict: RebuildVerdict, said: RebuildVerdict, **more: object) -> str:
    """An enrolled host says something else than what it made."""
    bundle = put_rebuild(stores.inbox, original_of(attempt, stores.site), verdict)
    files = {key.partition("/")[2]: stores.inbox.objects.pop(key) for key in list(stores.inbox.keys(f"{bundle}/"))}
    statement = json.loads(unverified_payload(files["attestation.json"]))
    statement["predicate"] |= {"verdict": said, **more}
    payload = canonical(statement)
    forged = hashlib.sha256(payload).hexdigest()
    files["attestation.json"] = sign_envelope(payload, [ELSEWHERE])
    stores.inbox.objects |= {f"{forged}/{name}": data for name, data in files.items()}
    return forged


def equal_that_is_different(stores: Stores, attempt: Attempt) -> str:
    return resigned(stores, attempt, V.DIFFERENT, V.EQUAL)


def different_that_is_equal(stores: Stores, attempt: Attempt) -> str:
    return resigned(stores, attempt, V.EQUAL, V.DIFFERENT)


def identical_that_is_different(stores: Stores, attempt: Attempt) -> str:
    return resigned(stores, attempt, V.DIFFERENT, V.IDENTICAL, difference="")


def without_its_log(stores: Stores, attempt: Attempt) -> str:
    bundle = put_rebuild(stores.inbox, original_of(attempt, stores.site), V.IDENTICAL)
    del stores.inbox.objects[f"{bundle}/rebuild.log.gz"]
    return bundle


def with_another_wheel(stores: Stores, attempt: Attempt) -> str:
    bundle = put_rebuild(stores.inbox, original_of(attempt, stores.site), V.EQUAL)
    stores.inbox.objects[f"{bundle}/rebuilt.whl"] += b"\0"
    return bundle


def with_a_file_too_many(stores: Stores, attempt: Attempt) -> str:
    bundle = put_rebuild(stores.inbox, original_of(attempt, stores.site), V.IDENTICAL)
    stores.inbox.objects[f"{bundle}/rebuilt.whl"] = b"PK"
    return bundle


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (of_a_stranger, "not enrolled"),
        (in_anothers_name, "is missing"),
        (of_another_log, "it is about a wheel in the log 'kiln.invalid/other'"),
        (of_another_entry, "entry 0 of the log is not the attempt"),
        (of_a_wheel_that_the_log_does_not_have, "entry 1 of the log is not the attempt"),
        (equal_that_is_different, "its rebuild is different, and not equal"),
        (different_that_is_equal, "its rebuild is equal, and not different"),
        (identical_that_is_different, "does not go with what was made"),
        (without_its_log, "it should hold"),
        (with_another_wheel, "rebuilt.whl is not the one"),
        (with_a_file_too_many, "it should hold"),
    ],
)
def test_a_forged_verdict_is_moved_aside(forge: Forge, said: str) -> None:
    """Whoever signed it: nothing of it reaches the site or the log, and it stalls no other."""
    stores, attempt = published()
    site = dict(stores.site.objects)
    bundle = forge(stores, attempt)
    report = stores.record(hosts=BOTH)
    assert [name for name, _ in report.refused] == [bundle]
    assert said in report.refused[0][1]
    assert stores.site.objects == site
    assert refused_bundles(stores.inbox) == report.refused
    put_rebuild(stores.inbox, original_of(attempt, stores.site), V.IDENTICAL, minutes=5)
    assert len(stores.record(hosts=BOTH).rebuilds) == 1


def test_a_revoked_host_has_no_say() -> None:
    stores, attempt = published()
    put_rebuild(stores.inbox, original_of(attempt, stores.site), V.IDENTICAL)
    revoked = replace(BOTH[ELSEWHERE.name], revoked=date(2026, 11, 2), reason="stolen")
    assert "revoked on 2026-11-02: stolen" in stores.record(hosts=BOTH | {ELSEWHERE.name: revoked}).refused[0][1]


def test_a_verdict_moved_to_another_wheel_is_noticed() -> None:
    """The file beside a wheel must be of that wheel, in the log, and no number twice."""
    stores, attempt = published()
    put_bundle(stores.inbox, sample_bundle(sample_plan("lz4", "4.3.2"), minutes=3))
    put_rebuild(stores.inbox, original_of(attempt, stores.site), V.IDENTICAL)
    (other,) = stores.record(hosts=BOTH).recorded
    verdict = stores.site.get(site_layout.rebuild_provenance(attempt.wheel, 1))
    assert told(stores, other) == "not rebuilt yet"
    stores.site.put(site_layout.rebuild_provenance(other.wheel, 1), verdict)
    with pytest.raises(VerificationError, match="another wheel"):
        told(stores, other)
    stores.site.put(site_layout.rebuild_provenance(attempt.wheel, 2), verdict)
    with pytest.raises(VerificationError, match="no such verdict"):
        told(stores, attempt)
    stores.site.put(site_layout.rebuild_provenance(attempt.wheel, 1), verdict.replace(b"identical", b"different"))
    with pytest.raises(VerificationError):
        told(stores, attempt)


def test_offline_with_what_was_downloaded_beside_the_wheel() -> None:
    """Wheel, provenance and verdict: no site is asked."""
    stores, attempt = published()
    put_rebuild(stores.inbox, original_of(attempt, stores.site), V.IDENTICAL)
    stores.record(hosts=BOTH)
    folder = {key: data for key, data in stores.site.objects.items() if key.startswith("wheels/")}

    def beside(key: str) -> bytes:
        if key not in folder:
            raise ObjectNotFound(key)
        return folder[key]

    wheel, proof = folder[site_layout.wheel(attempt.wheel)], folder[site_layout.wheel_provenance(attempt.wheel)]
    story = dict(verify_offline(wheel, attempt.wheel, proof, log_key=str(KEY), beside=beside).story)
    assert story["rebuilds"] == "rebuilt 1× elsewhere: identical"


def test_statements_are_strict() -> None:
    """No field more or less, no other type, and a clock that runs forwards."""
    stores, attempt = published()
    inbox = MemoryStore()
    put_rebuild(inbox, original_of(attempt, stores.site), V.DIFFERENT)
    envelope = next(data for key, data in inbox.objects.items() if key.endswith("attestation.json"))
    payload = unverified_payload(envelope)
    assert parse_rebuild_statement(payload).rebuild.verdict is V.DIFFERENT
    statement = json.loads(payload)
    predicate = statement["predicate"]
    altered = [statement | {"predicate": predicate | {field: value}} for field in predicate for value in (7, [], {"x": 1}, "x")]
    altered += [statement | {"predicate": {k: v for k, v in predicate.items() if k != field}} for field in predicate]
    altered += [statement | {field: value} for field in statement for value in (7, [], "x", [{}])]
    altered.append(statement | {"subject": [{"digest": {"sha256": "0" * 64}, "name": "../../evil.whl"}]})
    backwards = predicate["metadata"] | {"finishedOn": "2020-01-01T00:00:00.000000Z"}
    altered.append(statement | {"predicate": predicate | {"metadata": backwards}})
    altered.remove(statement | {"predicate": predicate | {"materials": []}})  # nothing on record is no contradiction
    for value in altered:
        with pytest.raises(VerificationError):
            parse_rebuild_statement(canonical(value))


def test_the_sample_takes_what_was_never_rebuilt_then_the_oldest_verdict() -> None:
    """The same log, the same choice; only wheels, and only of the platform."""
    stores = Stores()
    for minutes, python in enumerate(("cp310", "cp311", "cp312")):
        put_bundle(stores.inbox, sample_bundle(sample_plan(python=python), minutes=minutes))
    put_bundle(stores.inbox, sample_bundle(sample_plan(python="cp313"), failure=FAILURE, minutes=4))
    stores.record(hosts=BOTH)
    attempts = load_attempts(stores.state, stores.site)
    platform = attempts[0].identifier.platform

    def chosen(count: int) -> list[int]:
        return [attempt.index for attempt in sample(attempts, load_rebuilds(stores.state, stores.site), platform, count)]

    def rebuild(index: int, minutes: int) -> None:
        put_rebuild(stores.inbox, original_of(attempts[index], stores.site), V.IDENTICAL, minutes=minutes)
        stores.record(hosts=BOTH)

    assert (chosen(2), chosen(9)) == ([0, 1], [0, 1, 2])
    rebuild(1, 0)
    assert chosen(9) == [0, 2, 1]
    rebuild(0, 1)
    rebuild(2, 2)
    assert chosen(2) == [1, 0]
    rebuild(1, 3)
    assert chosen(9) == [0, 2, 1]
    assert tell((), "anyone") == ""
