"""Every verdict of the doctor's: what is well, what is bad, and that what is bad says what to do."""

from datetime import date

import pytest

from kiln_pipeline.core import host_checks
from kiln_pipeline.core.host_checks import DatabaseFacts, Finding, InboxFacts, KeyFacts, Level, LinuxFacts, MacFacts
from kiln_pipeline.core.hosts import Host
from kiln_pipeline.core.platforms import Platform

X86, ARM, MUSL = Platform.MANYLINUX_X86_64, Platform.MANYLINUX_AARCH64, Platform.MUSLLINUX_X86_64
MAC, INTEL = Platform.MACOSX_ARM64, Platform.MACOSX_X86_64
LINUX = LinuxFacts(system="Linux", machine="x86_64", engine="podman version 5.4.2", zig=True)
BARE = LinuxFacts(system="Linux", machine="x86_64", zig=True)
# as `xcode-select -p`, `xcrun --show-sdk-version` and `brew --version` are documented to answer; no Mac was at hand
M2 = MacFacts(
    system="Darwin",
    machine="arm64",
    developer_folder="/Applications/Xcode.app/Contents/Developer\n",
    sdk="15.2\n",
    oldest_target="10.13",
    brew="Homebrew 4.4.8",
    rosetta=True,
)
KEY = KeyFacts(path="keys/host.pem", mode=0o600, public_key=bytes(32))
ENROLLED = Host(name="box", platforms=(X86,), public_key=bytes(32))


def level(finding: Finding) -> Level:
    assert (finding.level is Level.BAD) <= bool(finding.todo), "what is bad says what to do"
    return finding.level


@pytest.mark.parametrize(
    ("finding", "expected", "word"),
    [
        (host_checks.builder(X86, LINUX), Level.OK, "podman version"),
        (host_checks.builder(X86, BARE), Level.NOTE, "zig"),
        (host_checks.builder(MUSL, BARE), Level.BAD, "no container engine"),
        (host_checks.builder(ARM, BARE), Level.BAD, "no container engine"),
        (host_checks.builder(X86, LinuxFacts(system="Darwin", machine="arm64")), Level.BAD, "this is Darwin"),
        (host_checks.architecture(X86, LINUX), Level.OK, "native"),
        (host_checks.architecture(ARM, LINUX), Level.BAD, "nothing runs aarch64"),
        (
            host_checks.architecture(ARM, LinuxFacts(system="Linux", machine="x86_64", emulated=frozenset({"aarch64"}))),
            Level.NOTE,
            "qemu",
        ),
        (host_checks.image(X86, "quay.example.org/manylinux", True), Level.OK, "is here"),
        (host_checks.image(X86, "quay.example.org/manylinux", False), Level.NOTE, "first build"),
        (host_checks.disk("/srv", 1 << 40), Level.OK, "1024 GiB"),
        (host_checks.disk("/srv", 10 << 30), Level.NOTE, "10 GiB"),
        (host_checks.disk("/srv", 1 << 30), Level.BAD, "1 GiB"),
        (host_checks.clock(0.3, "upstream"), Level.OK, "within 1 s"),
        (host_checks.clock(3600.0, "upstream"), Level.BAD, "3600 s ahead of upstream"),
        (host_checks.clock(-31.0, "upstream"), Level.BAD, "31 s behind upstream"),
        (host_checks.clock(None, "upstream"), Level.NOTE, "no time"),
        (host_checks.reach("broker", "redis://:secret@b:6379/0", "", variable="KILN_BROKER"), Level.OK, "redis://…@b:6379/0"),
        (host_checks.reach("broker", "redis://:secret@b/0", "refused", variable="KILN_BROKER"), Level.BAD, "refused"),
        (host_checks.reach("broker", "", "", variable="KILN_BROKER"), Level.BAD, "not configured"),
        (host_checks.inbox(InboxFacts(where="s3://in")), Level.OK, "nothing else does: good"),
        (host_checks.inbox(InboxFacts(where="s3://in", may=("list", "delete"))), Level.NOTE, "so does list, delete"),
        (host_checks.inbox(InboxFacts(where="s3://in", refusal="no permission")), Level.BAD, "no permission"),
        (host_checks.database(DatabaseFacts(where="postgresql://u:p@db/kiln")), Level.OK, "narrow role"),
        (host_checks.database(DatabaseFacts(where="postgresql://db/kiln", excess=("remove runs",))), Level.NOTE, "remove runs"),
        (host_checks.database(DatabaseFacts(where="postgresql://db/kiln", lacking=("read runs",))), Level.BAD, "no access"),
        (host_checks.database(DatabaseFacts(where="postgresql://db/kiln", refusal="timeout")), Level.BAD, "timeout"),
        (host_checks.database(DatabaseFacts(where="")), Level.BAD, "not configured"),
        (host_checks.strange_key("keys/log.pem"), Level.NOTE, "sign for the audit log"),
    ],
)
def test_each_fact_has_its_verdict(finding: Finding, expected: Level, word: str) -> None:
    assert level(finding) is expected
    assert word in finding.told
    assert "secret" not in finding.told


@pytest.mark.parametrize(
    ("facts", "hosts", "expected", "word"),
    [
        (KEY, {"box": ENROLLED}, Level.OK, "box for manylinux_x86_64"),
        (KEY, None, Level.NOTE, "no deploy/hosts.toml"),
        (KEY, {}, Level.BAD, "'box' is not in"),
        (KEY, {"box": Host(name="box", platforms=(X86,), public_key=b"1" * 32)}, Level.BAD, "another key"),
        (KEY, {"box": Host(name="box", platforms=(MAC,), public_key=bytes(32))}, Level.BAD, "not enrolled for manylinux_x86_64"),
        (
            KEY,
            {"box": Host(name="box", platforms=(X86,), public_key=bytes(32), revoked=date(2026, 1, 2), reason="sold")},
            Level.BAD,
            "revoked on 2026-01-02: sold",
        ),
        (KeyFacts(path="host.pem", mode=None), {"box": ENROLLED}, Level.BAD, "not there"),
        (KeyFacts(path="host.pem", mode=0o644), {"box": ENROLLED}, Level.BAD, "mode 0644"),
    ],
)
def test_a_key_is_there_its_owners_alone_and_enrolled(facts, hosts, expected: Level, word: str) -> None:
    last = host_checks.key(facts, "box", [X86], hosts)[-1]
    assert level(last) is expected
    assert word in last.told


def test_a_mac_with_xcode_serves_both_architectures() -> None:
    assert {finding.level for platform in (MAC, INTEL) for finding in host_checks.mac(platform, M2)} == {Level.OK}


def test_a_mac_without_tools_is_told_line_by_line() -> None:
    bare = MacFacts(system="Darwin", machine="arm64")
    found = {finding.what: level(finding) for finding in host_checks.mac(INTEL, bare)}
    assert found == {
        "Xcode tools": Level.BAD,
        "deployment target of macosx_x86_64": Level.NOTE,
        "brew": Level.NOTE,
        "architecture of macosx_x86_64": Level.NOTE,
    }


def test_an_sdk_that_is_too_new_for_the_floor_is_bad() -> None:
    newest = MacFacts(system="Darwin", machine="arm64", developer_folder="/X", sdk="26.0", oldest_target="12.0")
    assert [finding.level for finding in host_checks.mac(MAC, newest) if "target" in finding.what] == [Level.BAD]
    assert [level(finding) for finding in host_checks.mac(MAC, MacFacts(system="Linux", machine="x86_64"))] == [Level.BAD]
