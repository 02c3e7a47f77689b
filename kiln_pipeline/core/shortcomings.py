"""What one upstream file lacks to serve one target, in words for a person. It judges nothing: `core.coverage` does that.

A wheel has a shortcoming exactly when it does not cover the target; the tests hold the two against each other.
"""

import re
from functools import lru_cache

from packaging.tags import Tag

from kiln_pipeline.core.distributions import DistributionFile, FileKind
from kiln_pipeline.core.platforms import PythonTag
from kiln_pipeline.core.requires_python import admits
from kiln_pipeline.core.tags import LEGACY_MANYLINUX, Target, parse_tag_set, platform_tags, ranks_of

_PLATFORM = re.compile(r"(?P<family>macosx|manylinux|musllinux)_(?P<major>\d+)_(?P<minor>\d+)_(?P<machine>\w+)", re.ASCII)
_INTERPRETER = re.compile(r"(?P<name>cp|pp|py)(?P<major>\d)(?P<minor>\d*)", re.ASCII)
_LEGACY = {name: glibc for glibc, name in LEGACY_MANYLINUX.items()}
_NAMES = {"cp": "CPython", "pp": "PyPy", "py": "Python"}
_SYSTEMS = {"macosx": "macOS", "manylinux": "glibc", "musllinux": "musl"}
_FOREIGN = {"win": "Windows", "ios": "iOS", "android": "Android"}


def shortcoming(file: DistributionFile, target: Target) -> str:
    """Return what `file` lacks to serve a target: to be installed (a wheel) or built from (an sdist); empty when nothing."""
    python = target.identifier.python
    if file.kind is FileKind.OTHER:
        return "is neither a wheel nor an sdist"
    if file.yanked:
        return f"is yanked: {file.yanked_reason}" if file.yanked_reason else "is yanked"
    if file.kind is FileKind.WHEEL:
        tags = parse_tag_set("-".join(file.filename.removesuffix(".whl").split("-")[-3:]))
        accepted = ranks_of(target)
        if not any(tag in accepted for tag in tags):
            return min((_of_tag(tag, target) for tag in tags), default=(0, "has no tags that can be read"))[1]
    if not admits(file.requires_python, python.major, python.minor):
        return f"requires Python {file.requires_python}"
    return ""


@lru_cache(maxsize=4096)
def _fitting_pythons(target: Target) -> frozenset[tuple[str, str]]:
    return frozenset((tag.interpreter, tag.abi) for tag in ranks_of(target))


def _of_tag(tag: Tag, target: Target) -> tuple[int, str]:
    """Return how far a tag that is not accepted is from the target (0: only its system is too new), and why."""
    if (tag.interpreter, tag.abi) not in _fitting_pythons(target):
        return 2, _other_python(tag, target.identifier.python)
    return _other_platform(tag.platform, target)


def _other_python(tag: Tag, wanted: PythonTag) -> str:
    match = _INTERPRETER.fullmatch(tag.interpreter)
    if match is None:
        return f"is for another Python ({tag.interpreter}-{tag.abi})"
    version = f"{match['major']}.{match['minor']}" if match["minor"] else match["major"]
    name = f"{_NAMES[match['name']]} {version}"
    stable = tag.abi in ("abi3", "abi3t")
    if stable and (tag.abi == "abi3t") != wanted.free_threaded and wanted.implementation == "cp":
        return f"has the stable ABI of {'free-threaded' if tag.abi == 'abi3t' else 'GIL'} builds ({tag.abi})"
    if stable:
        return f"is for {name} and later ({tag.abi})"
    if match["name"] == "cp" and tag.abi.endswith("t"):
        return f"is for free-threaded {name}"
    return f"is for {name}" + (f" ({tag.abi})" if match["name"] == "pp" else "")


def _other_platform(platform: str, target: Target) -> tuple[int, str]:
    legacy, _, machine = platform.partition("_")
    if legacy in _LEGACY:
        platform = f"manylinux_{_LEGACY[legacy][0]}_{_LEGACY[legacy][1]}_{machine}"
    match, wanted = _PLATFORM.fullmatch(platform), target.identifier.platform
    if match is None:
        if legacy == "linux":
            return 1, f"{platform} names no C library: it serves no platform"
        foreign = next((name for prefix, name in _FOREIGN.items() if platform.startswith(prefix)), platform)
        return 1, f"is for {foreign}"
    system, machine = _SYSTEMS[match["family"]], match["machine"]
    if match["family"] == wanted.family and _runs_on(machine, target):
        floor = ".".join(str(part) for part in _floor(target))
        return 0, f"needs {system} {match['major']}.{match['minor']}, the floor is {floor}"
    return 1, f"is for {system} on {machine}"


def _runs_on(machine: str, target: Target) -> bool:
    """Whether some tag that the target accepts has this machine part (``universal2`` serves two)."""
    return any(tag.endswith(f"_{machine}") for tag in platform_tags(target.identifier.platform, target.floors))


def _floor(target: Target) -> tuple[int, int]:
    floors, platform = target.floors, target.identifier.platform
    if platform.family == "macosx":
        return floors.macosx_arm64 if platform.machine == "arm64" else floors.macosx_x86_64
    return floors.glibc if platform.family == "manylinux" else floors.musl
