"""The trail as a git history, and the original's logs taken in: append-only, the same everywhere, never taken for more."""

import gzip
import subprocess
from pathlib import Path

import pytest

from kiln_pipeline.adapters.git_history import GitHistory
from kiln_pipeline.core import site_layout
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.core.audit_log.entries import LegacyEntry, parse_any_entry
from kiln_pipeline.errors import RecipeError, StoreError, VerificationError
from kiln_pipeline.stages.append import open_log
from kiln_pipeline.stages.audit import AuditReport, audit
from kiln_pipeline.stages.export import ExportReport, export
from kiln_pipeline.stages.import_legacy import LegacyReport, import_legacy
from kiln_pipeline.stages.record import load_attempts, record
from kiln_pipeline_tests.audit_samples import FAILURE, HOSTS, LOG, Silent, put_bundle, sample_bundle, sample_plan
from kiln_pipeline_tests.fakes import MemorySigner, MemoryStore

KEY = str(VerifierKey.of(LOG))
LEGACY = {
    "grpcio/3_10/1_47_2/1_build.txt": b"2022-12-03T10:00:00Z building grpcio\n",
    "grpcio/3_10/1_47_2/10_build.txt": b"",
    "grpcio/3_9/1_47_2/2_build (3.9).txt": b"not of the layout: a space",
    "README.md": b"about",
    "aiohttp/3_11/3_8_3/1_build.txt": b"\xff building\r\n",
}


class Trail:
    """A log in memory stores, and the git history beside it."""

    def __init__(self, folder: Path) -> None:
        self.site, self.state, self.folder = MemoryStore(), MemoryStore(), folder

    def record(self, *minutes: int) -> None:
        inbox = MemoryStore()
        for minute in minutes:
            failure = FAILURE if minute % 2 else None
            put_bundle(
                inbox, sample_bundle(sample_plan(python="cp311" if minute == 0 else "cp310"), failure=failure, minutes=minute)
            )
        record(inbox=inbox, site=self.site, state=self.state, log_signer=LOG, hosts=HOSTS, recipes=None, progress=Silent())

    def take_legacy(self, files: dict[str, bytes] = LEGACY) -> LegacyReport:
        return import_legacy(files.items(), site=self.site, state=self.state, log_signer=LOG, progress=Silent())

    def export(self, folder: Path | None = None) -> ExportReport:
        return export(site=self.site, log_key=KEY, history=GitHistory(folder or self.folder, "audit"), progress=Silent())

    def git(self, *arguments: str, folder: Path | None = None) -> str:
        command = ["git", "-C", str(folder or self.folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    made = Trail(tmp_path / "history")
    made.record(0, 1)
    return made


def test_one_commit_per_entry_with_log_and_statement(trail: Trail):
    """In the original's layout; author, dates and order are the log's."""
    assert trail.export() == ExportReport(added=2, size=2)
    subjects = trail.git("log", "--reverse", "--format=%an|%cn|%ad|%s", "--date=iso-strict", "audit").splitlines()
    assert subjects == [
        "mac-mini-1|kiln.invalid/test|2026-11-01T12:01:15+00:00|entry 0: wrapt==1.14.0 cp311-macosx_arm64 succeeded",
        "mac-mini-1|kiln.invalid/test|2026-11-01T12:02:15+00:00|entry 1: wrapt==1.14.0 cp310-macosx_arm64 failed",
    ]
    assert trail.git("ls-tree", "-r", "--name-only", "audit").splitlines() == [
        "wrapt/3_10/1_14_0/1_macosx_arm64.json",
        "wrapt/3_10/1_14_0/1_macosx_arm64.txt",
        "wrapt/3_11/1_14_0/0_macosx_arm64.json",
        "wrapt/3_11/1_14_0/0_macosx_arm64.txt",
    ]
    assert trail.git("show", "audit:wrapt/3_11/1_14_0/0_macosx_arm64.txt").startswith("building wrapt==1.14.0")
    attempt = load_attempts(trail.state, trail.site)[0]
    envelope = trail.site.objects[site_layout.attempt_statement(attempt.statement_sha256)].decode()
    assert trail.git("show", "audit:wrapt/3_11/1_14_0/0_macosx_arm64.json") == envelope
    assert f"sha256 {attempt.wheel_sha256}" in trail.git("log", "--format=%B", "audit")
    assert "compile: wrapt.c:1: error" in trail.git("log", "--format=%B", "audit")


def test_an_export_only_adds_and_is_the_same_everywhere(trail: Trail, tmp_path: Path):
    """In two runs or in one, the commits are the same to the byte."""
    trail.export()
    before = trail.git("rev-parse", "audit")
    assert trail.export() == ExportReport(added=0, size=2)
    assert trail.git("rev-parse", "audit") == before
    trail.record(2, 3)
    trail.take_legacy()
    assert trail.export() == ExportReport(added=5, size=7)
    assert trail.git("rev-parse", "audit~5") == before
    trail.git("fsck", "--strict")
    assert trail.export(tmp_path / "again") == ExportReport(added=7, size=7)
    assert trail.git("rev-parse", "audit", folder=tmp_path / "again") == trail.git("rev-parse", "audit")


def test_a_history_of_another_log_is_refused(trail: Trail, tmp_path: Path):
    """Or one that somebody has added to, or whose branch is checked out; nothing is written then."""
    other = Trail(tmp_path / "history")
    other.record(0, 1, 2)
    other.export()
    before = trail.git("rev-parse", "audit")
    with pytest.raises(VerificationError, match="says of entry 2"):
        trail.export()
    assert trail.git("rev-parse", "audit") == before
    work = tmp_path / "work"
    trail.git("init", "-q", "-b", "audit", str(work), folder=tmp_path)
    with pytest.raises(StoreError, match="checked out"):
        trail.export(work)
    person = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
    trail.git(*person, "commit", "-q", "--allow-empty", "-m", "mine", folder=work)
    with pytest.raises(VerificationError, match="not one of an export"):
        trail.export(work)


def test_an_altered_log_is_not_exported(trail: Trail):
    """Each entry is verified before it is written, and a run that ends so leaves no half of itself."""
    key = next(key for key in trail.site.objects if key.startswith("audit/logs/"))
    trail.site.objects[key] = gzip.compress(b"other", mtime=0)
    with pytest.raises(VerificationError, match="not the one that was recorded"):
        trail.export()
    assert trail.git("for-each-ref") == ""


def test_a_folder_that_is_no_repository_is_an_error(trail: Trail, tmp_path: Path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(StoreError, match="not a git repository"):
        trail.export(tmp_path / "full")


def test_legacy_logs_are_on_record_as_what_they_are(trail: Trail):
    """In the log and its history, byte for byte; never an attempt, for none of those who count attempts."""
    attempts = load_attempts(trail.state, trail.site)
    report = trail.take_legacy()
    assert report == LegacyReport(added=3, already=0, skipped=("README.md", "grpcio/3_9/1_47_2/2_build (3.9).txt"))
    reader = open_log(trail.site, trail.state, LOG).reader
    entries = [parse_any_entry(data) for data in reader.entries(2, 5)]
    assert [entry.path for entry in entries if isinstance(entry, LegacyEntry)] == [
        "aiohttp/3_11/3_8_3/1_build.txt",
        "grpcio/3_10/1_47_2/1_build.txt",
        "grpcio/3_10/1_47_2/10_build.txt",
    ]
    for entry in entries:
        assert isinstance(entry, LegacyEntry)
        assert gzip.decompress(trail.site.objects[site_layout.build_log(entry.log)]) == LEGACY[entry.path]
    assert load_attempts(trail.state, trail.site) == attempts
    trail.record(4)
    assert [attempt.index for attempt in load_attempts(trail.state, trail.site)] == [0, 1, 5]
    trail.export()
    assert "entry 2: legacy log aiohttp/3_11/3_8_3/1_build.txt, unsigned" in trail.git("log", "--format=%s", "audit")
    result = audit(site=trail.site, state=trail.state, log_key=KEY, full=True, progress=Silent())
    assert result == AuditReport(size=6, read=6, verified=6)


def test_an_import_again_changes_nothing_and_never_rewrites(trail: Trail):
    trail.take_legacy()
    before = dict(trail.site.objects), dict(trail.state.objects)
    assert trail.take_legacy().already == 3
    assert (trail.site.objects, trail.state.objects) == before
    with pytest.raises(VerificationError, match="other content"):
        trail.take_legacy({**LEGACY, "grpcio/3_10/1_47_2/1_build.txt": b"other"})
    assert trail.state.objects == before[1]
    with pytest.raises(RecipeError, match="layout of the original"):
        trail.take_legacy({"README.md": b""})
    with pytest.raises(VerificationError, match="another key"):
        import_legacy(
            LEGACY.items(), site=trail.site, state=MemoryStore(), log_signer=MemorySigner("kiln.invalid/x"), progress=Silent()
        )
