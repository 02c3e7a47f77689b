"""Whether a built wheel's tags are what its build plan asked for. Which upstream wheels cover a target is another question.

Platform tags follow PEP 600 (manylinux), PEP 656 (musllinux) and the platform compatibility tags specification (macOS).
"""

import re
from collections.abc import Iterator

from kiln_pipeline.core.build_plan import BuildPlan
from kiln_pipeline.core.platforms import BuildIdentifier, Floors, Platform, PythonTag


def tag_problems(tags: tuple[str, ...], plan: BuildPlan) -> Iterator[str]:
    """Yield what is wrong with a wheel's expanded tags: one must fit the plan's identifier, none may promise another platform."""
    if _is_pure(tags):
        return
    if not any(python_fits(tag, plan.identifier.python) for tag in tags):
        yield f"no tag of it fits {plan.identifier.python}: {', '.join(tags)}"
    foreign = [name for name in _platforms(tags) if not platform_matches(name, plan.identifier.platform)]
    if foreign:
        yield f"it is tagged {', '.join(foreign)}, which is not {plan.identifier.platform}"


def floor_problems(tags: tuple[str, ...], plan: BuildPlan) -> Iterator[str]:
    """Yield that all of a wheel's expanded tags want a newer system than the plan's floor, if they do."""
    platforms = _platforms(tags)
    if not _is_pure(tags) and not any(_platform_fits(name, plan.identifier, plan.floors) for name in platforms):
        yield f"it needs a newer system than {_floor_text(plan)}: {', '.join(platforms)}"


def _is_pure(tags: tuple[str, ...]) -> bool:
    return all(tag.endswith("-none-any") for tag in tags)


def _platforms(tags: tuple[str, ...]) -> list[str]:
    return sorted({tag.split("-", 2)[2] for tag in tags})


def python_fits(tag: str, python: PythonTag) -> bool:
    """Return whether an interpreter takes a tag (``cp311-abi3-any``), its platform apart."""
    interpreter, abi, _ = tag.split("-", 2)
    plain = f"{python.implementation}{python.major}{python.minor}"
    match = re.fullmatch(r"(?P<implementation>cp|pp|py)(?P<major>\d)(?P<minor>\d*)", interpreter)
    if match is None:
        return False
    older = int(match["major"]) == python.major and int(match["minor"] or 0) <= python.minor
    if abi == "none":
        return interpreter == plain or (match["implementation"] == "py" and older)
    if abi in {"abi3", "abi3t"}:
        return match["implementation"] == python.implementation == "cp" and older and (abi == "abi3t" or not python.free_threaded)
    if python.implementation == "pp":
        return interpreter == plain and abi.startswith("pypy")
    return interpreter == plain and abi in (
        {str(python)} if python.free_threaded or python.minor > 7 else {str(python), f"{python}m"}
    )


_LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_PLATFORM_TAG = re.compile(r"(?P<family>manylinux|musllinux|macosx)_(?P<major>\d+)_(?P<minor>\d+)_(?P<machine>\w+)")


def parse_platform(name: str) -> tuple[str, tuple[int, int], str]:
    """Split a platform tag into (family, oldest system, machine); an unknown one has the family ``""``."""
    for legacy, glibc in _LEGACY.items():
        if name.startswith(f"{legacy}_"):
            return "manylinux", glibc, name.removeprefix(f"{legacy}_")
    match = _PLATFORM_TAG.fullmatch(name)
    if match is None:
        return "", (0, 0), ""
    return match["family"], (int(match["major"]), int(match["minor"])), match["machine"]


def platform_matches(name: str, platform: Platform) -> bool:
    """Return whether a platform tag is for some system of `platform`, however new."""
    family, _, machine = parse_platform(name)
    universal = family == "macosx" and machine == "universal2"
    return family == platform.family and (machine == platform.machine or universal)


def _platform_fits(name: str, identifier: BuildIdentifier, floors: Floors) -> bool:
    return platform_matches(name, identifier.platform) and parse_platform(name)[1] <= _floor(identifier, floors)


def _floor(identifier: BuildIdentifier, floors: Floors) -> tuple[int, int]:
    by_platform = {
        "manylinux": floors.glibc,
        "musllinux": floors.musl,
        "macosx": floors.macosx_arm64 if identifier.platform.machine == "arm64" else floors.macosx_x86_64,
    }
    return by_platform[identifier.platform.family]


def _floor_text(plan: BuildPlan) -> str:
    system = {"manylinux": "glibc", "musllinux": "musl", "macosx": "macOS"}[plan.identifier.platform.family]
    major, minor = _floor(plan.identifier, plan.floors)
    return f"{system} {major}.{minor}"
