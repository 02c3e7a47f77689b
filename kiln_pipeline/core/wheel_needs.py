"""What the binaries of a wheel need of a system, against what its tags promise. Who reads them is `adapters.wheel_binaries`.

PEP 600: a wheel tagged ``manylinux_X_Y`` works wherever there is glibc X.Y or later; PEP 656 says the same of musl. A tag for
macOS promises its version and every later one, and the architectures that it names.
"""

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kiln_pipeline.core.wheel_tags import parse_platform

_MACOS_HAS = ("/usr/lib/", "/System/Library/")
_OLDEST_ARM64 = (11, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class LinuxNeeds:
    """What auditwheel says of all ELF files of a wheel together."""

    oldest: str
    """The oldest policy that holds: ``manylinux_2_17_x86_64``; ``linux_x86_64`` when none does."""
    symbols: tuple[str, ...] = ()
    """The newest symbol version that is needed of each library: ``GLIBC_2.34 of libc.so.6``."""
    libraries: tuple[str, ...] = ()
    """What is needed and neither in the wheel nor in any policy: ``libyaml-0.so.2``."""
    other: tuple[str, ...] = ()
    """Whatever else bars a policy, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MacBinary:
    """One architecture of one Mach-O file."""

    member: str
    """Its path in the wheel."""
    machine: str
    """As platform tags write it: ``arm64``, ``x86_64``."""
    oldest: tuple[int, int]
    """The oldest macOS, of LC_BUILD_VERSION or LC_VERSION_MIN_MACOSX; (0, 0) when it says none."""
    libraries: tuple[str, ...] = ()
    """The install names that it loads: ``/usr/lib/libSystem.B.dylib``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WheelNeeds:
    """What the binaries of one wheel need. None and empty: it has no such binaries."""

    linux: LinuxNeeds | None = None
    macos: tuple[MacBinary, ...] = ()
    abi3: tuple[str, ...] = ()
    """What abi3audit objects to, in words: ``_speedups.abi3.so uses PyObject_Foo, which is not in the stable ABI``."""


def need_problems(needs: WheelNeeds, tags: Sequence[str], members: frozenset[str]) -> Iterator[str]:
    """Yield what a wheel's expanded `tags` promise and its binaries do not keep; `members` are its paths."""
    for name in sorted({tag.split("-", 2)[2] for tag in tags} - {"any"}):
        family, promised, machine = parse_platform(name)
        if family == "macosx":
            yield from _macos_problems(needs.macos, name, promised, machine, members)
        elif needs.linux is None:
            yield f"it is tagged {name}, and has no ELF file"
        else:
            yield from _linux_problems(needs.linux, name, (family, promised, machine))
    if all(tag.endswith("-any") for tag in tags) and (needs.linux or needs.macos):
        yield "it has binaries, and is tagged for every platform"
    yield from needs.abi3


def _linux_problems(needs: LinuxNeeds, name: str, tagged: tuple[str, tuple[int, int], str]) -> Iterator[str]:
    family, oldest, machine = parse_platform(needs.oldest)
    if (family, machine) == (tagged[0], tagged[2]) and oldest <= tagged[1]:
        return
    why = [*needs.libraries, *needs.symbols, *needs.other] if not family else [*needs.symbols, *needs.other]
    told = f" ({', '.join(why)})" if why else ""
    system = f"{needs.oldest} or newer" if family else "what no manylinux or musllinux system is sure to have"
    yield f"it is tagged {name}, and its binaries need {system}{told}"


def _macos_problems(
    binaries: Sequence[MacBinary], name: str, promised: tuple[int, int], machine: str, members: frozenset[str]
) -> Iterator[str]:
    wanted = {"arm64", "x86_64"} if machine == "universal2" else {machine}
    found: dict[str, set[str]] = {}
    if not binaries:
        yield f"it is tagged {name}, and has no Mach-O file"
    for binary in binaries:
        found.setdefault(binary.member, set()).add(binary.machine)
        if binary.machine not in wanted:
            continue
        floor = max(promised, _OLDEST_ARM64) if binary.machine == "arm64" else promised
        if _as_tagged(binary.oldest) > floor:
            version = ".".join(map(str, binary.oldest))
            yield f"it is tagged {name}, and {binary.member} needs macOS {version} on {binary.machine}"
        foreign = [library for library in binary.libraries if not _is_at_hand(library, binary.member, members)]
        if foreign:
            yield f"{binary.member} loads {', '.join(foreign)}, which neither the wheel nor macOS has"
    for member, machines in found.items():
        lacking = sorted(wanted - machines)
        if lacking:
            yield f"it is tagged {name}, and {member} is not for {', '.join(lacking)}, but for {', '.join(sorted(machines))}"


def _as_tagged(version: tuple[int, int]) -> tuple[int, int]:
    """Return a version as tags write it: since macOS 11 the major number alone counts."""
    return (version[0], 0) if version >= _OLDEST_ARM64 else version


def _is_at_hand(library: str, member: str, members: frozenset[str]) -> bool:
    """Return whether macOS has a library, or the wheel, where the loader looks for it."""
    if library.startswith("@loader_path/"):
        folder = posixpath.dirname(member)
        return posixpath.normpath(posixpath.join(folder, library.removeprefix("@loader_path/"))) in members
    if library.startswith("@rpath/"):
        return any(posixpath.basename(library) == posixpath.basename(name) for name in members)
    return library.startswith(_MACOS_HAS)
