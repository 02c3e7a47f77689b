"""What makes a good build host: a verdict on each fact about it, and what to do. Facts are gathered by `adapters.host_facts`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from kiln_pipeline.core.hosts import Host
from kiln_pipeline.core.platforms import Floors, Platform

FREE_BYTES = 20 * 1024**3
"""What images, tools and a big build take together."""
SCARCE_BYTES = 5 * 1024**3
"""With less, most builds fail."""
CLOCK_SECONDS = 30.0
"""A host's times stand in signed statements, and S3 refuses a clock that is off by minutes."""


class Level(StrEnum):
    """How a check ended."""

    OK = "ok"
    NOTE = "note"
    """It works, and could be better."""
    BAD = "bad"
    """The host cannot do its work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the doctor's: what was looked at, how it is, what to do."""

    what: str
    level: Level
    told: str
    todo: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class LinuxFacts:
    """What a host has to build Linux wheels with."""

    system: str
    """As `platform.system()` says it: ``Linux``, ``Darwin``."""
    machine: str
    engine: str = ""
    """What a container engine that answers calls itself; empty: none does."""
    zig: bool = False
    """Whether the builder without containers is chosen or can stand in."""
    emulated: frozenset[str] = frozenset()
    """Machines that binfmt_misc runs, such as ``aarch64``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MacFacts:
    """What a Mac's own tools answered; None where a tool is not there or refused."""

    system: str
    machine: str
    developer_folder: str | None = None
    """Of ``xcode-select -p``."""
    sdk: str | None = None
    """Of ``xcrun --sdk macosx --show-sdk-version``."""
    oldest_target: str | None = None
    """``SupportedTargets.macosx.MinimumDeploymentTarget`` of the SDK's SDKSettings.json."""
    brew: str | None = None
    """The first line of ``brew --version``."""
    rosetta: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class InboxFacts:
    """What this host's credential may do in the inbox."""

    where: str
    refusal: str = ""
    """Why a put failed; empty when it worked."""
    may: tuple[str, ...] = ()
    """Of ``list``, ``read``, ``delete``, what worked too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabaseFacts:
    """What the database said to this host."""

    where: str
    refusal: str = ""
    """Why it could not be asked, or what the role lacks."""
    lacking: tuple[str, ...] = ()
    """Tables that a run must be able to read or write, and this role cannot."""
    excess: tuple[str, ...] = ()
    """What the role may do beyond what a run needs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyFacts:
    """The host's signing key. `mode` is None when there is none yet."""

    path: str
    mode: int | None
    public_key: bytes = b""


def builder(platform: Platform, facts: LinuxFacts) -> Finding:
    """Whether this host has what builds wheels for a Linux platform."""
    what = f"builder for {platform}"
    if facts.system != "Linux":
        return _bad(what, f"this is {facts.system}; Linux wheels are built on Linux", "serve this platform from another host")
    if facts.engine:
        return _ok(what, f"cibuildwheel in containers, {facts.engine}")
    if platform.family == "manylinux" and facts.zig and platform.machine == facts.machine:
        return _note(what, "zig, for this host's own Pythons: no container engine answers", "install podman for every Python")
    return _bad(what, "no container engine answers", "install podman or docker, and see that `podman info` works for this user")


def architecture(platform: Platform, facts: LinuxFacts) -> Finding:
    """Whether programs of a Linux platform's machine run here."""
    what = f"architecture of {platform}"
    if platform.machine == facts.machine:
        return _ok(what, f"native {facts.machine}")
    if platform.machine in facts.emulated:
        return _note(what, f"emulated by qemu on {facts.machine}: five to ten times slower", "a native host is quicker")
    return _bad(
        what,
        f"this host is {facts.machine}, and nothing runs {platform.machine} here",
        f"register qemu-{platform.machine} with binfmt_misc (Debian: apt-get install qemu-user-static binfmt-support)",
    )


def image(platform: Platform, reference: str, there: bool) -> Finding:
    """Whether the container image of a platform is on this host already."""
    what = f"image for {platform}"
    if there:
        return _ok(what, f"{reference} is here")
    return _note(what, f"{reference} is not here: the first build fetches it", f"podman pull {reference}")


def mac(platform: Platform, facts: MacFacts) -> tuple[Finding, ...]:
    """What building for a macOS platform needs, line by line."""
    if facts.system != "Darwin":
        return (
            _bad(f"builder for {platform}", f"this is {facts.system}; macOS wheels are built on Macs", "serve it from a Mac"),
        )
    floor = getattr(Floors(), platform.value)
    wanted = f"{floor[0]}.{floor[1]}"
    found = [_xcode(facts), _target(platform, wanted, facts.oldest_target)]
    if facts.brew:
        found.append(_ok("brew", facts.brew))
    else:
        found.append(_note("brew", "not there: recipes with brew packages fail here", "install Homebrew for this user"))
    if platform.machine == facts.machine:
        found.append(_ok(f"architecture of {platform}", f"native {facts.machine}"))
    elif platform.machine == "x86_64" and facts.rosetta:
        found.append(_ok(f"architecture of {platform}", "tests run under Rosetta"))
    else:
        todo = "softwareupdate --install-rosetta" if platform.machine == "x86_64" else "an arm64 Mac can test what it builds"
        found.append(_note(f"architecture of {platform}", f"cross-compiled on {facts.machine}, tests are skipped", todo))
    return tuple(found)


def _xcode(facts: MacFacts) -> Finding:
    if facts.developer_folder and facts.sdk:
        return _ok("Xcode tools", f"{facts.developer_folder.strip()}, macOS SDK {facts.sdk.strip()}")
    return _bad("Xcode tools", "no active developer folder, or no macOS SDK in it", "xcode-select --install")


def _target(platform: Platform, wanted: str, oldest: str | None) -> Finding:
    what = f"deployment target of {platform}"
    if oldest is None:
        return _note(what, f"the SDK does not say how old a system it can build for; {wanted} is wanted", "")
    if _version(oldest) <= _version(wanted):
        return _ok(what, f"{wanted}; the SDK goes back to {oldest}")
    return _bad(what, f"{wanted} is wanted, and the SDK goes back to {oldest} only", "install an older Xcode beside it")


def disk(path: str, free: int) -> Finding:
    """Whether there is room for builds below kiln's home."""
    told = f"{free / 1024**3:.0f} GiB free in {path}"
    if free < SCARCE_BYTES:
        return _bad("disk", told, f"make room: {FREE_BYTES // 1024**3} GiB do")
    if free < FREE_BYTES:
        return _note("disk", told, f"{FREE_BYTES // 1024**3} GiB hold images and big builds")
    return _ok("disk", told)


def clock(offset: float | None, source: str) -> Finding:
    """Whether this host's clock agrees with that of `source`; `offset` is ours minus theirs in seconds."""
    if offset is None:
        return _note("clock", f"{source} gave no time to compare with", "see that NTP runs")
    if abs(offset) <= CLOCK_SECONDS:
        return _ok("clock", f"within {max(1.0, abs(offset)):.0f} s of {source}")
    way = "ahead of" if offset > 0 else "behind"
    return _bad("clock", f"{abs(offset):.0f} s {way} {source}", "set it, and let NTP keep it (timedatectl set-ntp true)")


def reach(what: str, where: str, refusal: str, *, variable: str) -> Finding:
    """Whether a service could be reached; an empty `where` means that none is configured."""
    if not where:
        return _bad(what, "not configured", f"set {variable}")
    if refusal:
        return _bad(what, f"{without_password(where)}: {refusal}", f"is {variable} right, and does a firewall let this host out?")
    return _ok(what, f"{without_password(where)} answers")


def inbox(facts: InboxFacts) -> Finding:
    """Whether bundles can be left, and that nothing else can be done: whoever takes this host over reads and removes nothing."""
    if facts.refusal:
        return _bad(
            "inbox", f"{facts.where}: {facts.refusal}", "grant this host s3:PutObject there: deploy/build-host/inbox-policy.json"
        )
    if facts.may:
        may = ", ".join(facts.may)
        return _note(
            "inbox",
            f"{facts.where}: write works, and so does {may}",
            "a host needs to write only: deploy/build-host/inbox-policy.json",
        )
    return _ok("inbox", f"{facts.where}: write works, and nothing else does: good")


def database(facts: DatabaseFacts) -> Finding:
    """Whether runs can be executed with this credential, and whether it can do more than that."""
    grants = "deploy/control-plane/kiln_host.sql"
    if not facts.where or facts.refusal:
        return reach("database", facts.where, facts.refusal, variable="KILN_DATABASE")
    where = without_password(facts.where)
    if facts.lacking:
        return _bad("database", f"{where}: no access to {', '.join(facts.lacking)}", f"the control plane runs {grants} again")
    if facts.excess:
        return _note("database", f"{where} answers; this role also may {', '.join(facts.excess)}", f"use the role of {grants}")
    return _ok("database", f"{where} answers, with the narrow role")


def key(facts: KeyFacts, name: str, served: Sequence[Platform], hosts: Mapping[str, Host] | None) -> tuple[Finding, ...]:
    """Whether the key is there and nobody else's, and enrolled for what the host serves. `hosts` is None without a file."""
    if facts.mode is None:
        return (_bad("key", f"{facts.path} is not there", "kiln host enroll"),)
    if facts.mode & 0o077:
        return (_bad("key", f"{facts.path} has mode {facts.mode:04o}: others can read it", "make a new one, and enrol that"),)
    held = _ok("key", f"{facts.path}, mode {facts.mode:04o}")
    send = "send the lines of `kiln host enroll` to whoever keeps deploy/hosts.toml"
    if hosts is None:
        return held, _note("enrolment", "there is no deploy/hosts.toml here to look into", send)
    host = hosts.get(name)
    if host is None:
        return held, _bad("enrolment", f"{name!r} is not in deploy/hosts.toml", send)
    if host.revoked is not None:
        return held, _bad(
            "enrolment", f"revoked on {host.revoked}: {host.reason}", "a host that comes back gets a new name and key"
        )
    if host.public_key != facts.public_key:
        return held, _bad("enrolment", f"{name!r} is enrolled with another key", f"take another KILN_HOST, or {send}")
    more = [platform for platform in served if platform not in host.platforms]
    if more:
        return held, _bad("enrolment", f"not enrolled for {', '.join(more)}", f"add them to its `platforms`, or {send}")
    return held, _ok("enrolment", f"{name} for {', '.join(host.platforms)}")


def strange_key(path: str) -> Finding:
    """The publisher's own key lies on this host: right on a machine that is both, and nowhere else."""
    return _note("log key", f"{path} is here: this machine can sign for the audit log", "keep it on the publisher alone")


def without_password(url: str) -> str:
    """Return a URL that may be shown: a credential in it is left out."""
    return re.sub(r"//[^/@]*@", "//…@", url)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def _ok(what: str, told: str) -> Finding:
    return Finding(what=what, level=Level.OK, told=told)


def _note(what: str, told: str, todo: str) -> Finding:
    return Finding(what=what, level=Level.NOTE, told=told, todo=todo)


def _bad(what: str, told: str, todo: str) -> Finding:
    return Finding(what=what, level=Level.BAD, told=told, todo=todo)
