"""Reads the binaries of one wheel and prints what they need, as JSON. It runs in a process of its own, with bounds.

The binaries come from strangers: what a parser makes of them must not be able to stop kiln. ELF files are auditwheel's to judge
(PEP 600, PEP 656), Mach-O files are read by macholib. Nothing is loaded or run.

    python -I binary_report.py WHEEL MEMORY_BYTES [manylinux|musllinux MACHINE]
"""

import json
import re
import resource
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

MAGIC = (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf")
_CPUS = {0x01000007: "x86_64", 0x0100000C: "arm64", 7: "i386", 0x01000012: "ppc64", 18: "ppc"}
_SHARED_OBJECT = re.compile(r"\.so(?:\.[\w.]+)?$")
_LIBC = {"manylinux": "glibc", "musllinux": "musl"}


def of_elf_files(wheel: Path, family: str, machine: str) -> "dict[str, Any] | None":
    """Return what auditwheel finds, or None when there is no ELF file."""
    from auditwheel.architecture import Architecture
    from auditwheel.error import NonPlatformWheelError
    from auditwheel.libc import Libc
    from auditwheel.wheel_abi import analyze_wheel_abi

    libc, architecture = Libc(_LIBC[family]), Architecture(machine)
    libraries = _shared_objects(wheel)
    try:
        found = analyze_wheel_abi(libc, architecture, wheel, frozenset(), disable_isa_ext_check=False, allow_graft=False)
    except NonPlatformWheelError:
        foreign = [f"{name} is not for {machine} with {libc}" for name in libraries]
        return {"oldest": f"linux_{machine}", "symbols": [], "libraries": [], "other": foreign} if libraries else None
    examined = {path.as_posix() for path in found.full_external_refs}
    foreign = [f"{name} is not for {machine} with {libc}" for name in libraries if name not in examined]
    policies = found.policies
    barred = {
        "a newer CPU": found.machine_policy,
        "symbols that a policy forbids": found.blacklist_policy,
        "an interpreter with fpectl": found.pyfpe_policy,
    }
    return {
        "oldest": f"linux_{machine}" if foreign else found.overall_policy.name,
        "symbols": [f"{_newest(versions)} of {library}" for library, versions in sorted(found.versioned_symbols.items())],
        "libraries": sorted(found.external_refs[policies.lowest.name].libs),
        "other": [*foreign, *(why for why, policy in barred.items() if policy == policies.linux)],
    }


def _shared_objects(wheel: Path) -> "list[str]":
    """Return the members that are shared objects by name and ELF files by their first bytes."""
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(name for name in archive.namelist() if _SHARED_OBJECT.search(name))
        return [name for name in names if archive.open(name).read(4) == b"\x7fELF"]


def _newest(versions: "set[str]") -> str:
    return max(versions, key=lambda version: ([int(number) for number in re.findall(r"\d+", version)], version))


def of_mach_o_files(wheel: Path) -> "list[dict[str, Any]]":
    """Return the architectures of every Mach-O file, by member and machine."""
    found: list[dict[str, Any]] = []
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        for name in sorted(archive.namelist()):
            with archive.open(name) as member:
                magic = member.read(8)
                if not magic.startswith(MAGIC) or _is_java(magic):
                    continue
                copy = Path(folder, "binary")
                copy.write_bytes(magic + member.read())
            found += [{"member": name, **part} for part in _parts_of(copy)]
    return found


def _is_java(magic: bytes) -> bool:
    """Java's classes begin as universal binaries do; these have few architectures, and Java's versions begin at 45."""
    return magic[:4] == MAGIC[2] and int.from_bytes(magic[4:8], "big") > 40


def _parts_of(path: Path) -> "list[dict[str, Any]]":
    from macholib.mach_o import LC_BUILD_VERSION, LC_VERSION_MIN_MACOSX
    from macholib.MachO import MachO

    parts: list[dict[str, Any]] = []
    for header in MachO(str(path)).headers:
        oldest = (0, 0)
        for load, command, _ in header.commands:
            if load.cmd == LC_VERSION_MIN_MACOSX:
                oldest = (command.version >> 16, command.version >> 8 & 0xFF)
            elif load.cmd == LC_BUILD_VERSION:
                oldest = (command.minos >> 16, command.minos >> 8 & 0xFF)
        machine = _CPUS.get(header.header.cputype, f"CPU type {header.header.cputype}")
        libraries = sorted({name for _, _, name in header.walkRelocatables()})
        parts.append({"machine": machine, "oldest": [int(part) for part in oldest], "libraries": libraries})
    return sorted(parts, key=lambda part: part["machine"])


def main(wheel: str, memory: str, *linux: str) -> None:
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (int(memory), int(memory)))
    report = {"linux": of_elf_files(Path(wheel), *linux) if linux else None, "macos": of_mach_o_files(Path(wheel))}
    print(json.dumps(report, sort_keys=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
