"""Which wheel tags a target accepts (PEP 425, 384, 600, 656, 803), and which targets a tag set serves. No filenames, no releases.

The orders and sets are packaging's own where it has them; what it can only ask of the running system (manylinux, musllinux)
is generated here from a target's floors. `kiln_pipeline_tests` compares every target with pip's own resolver.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import assert_never

import numpy as np
import numpy.typing as npt
from packaging.tags import Tag, compatible_tags, cpython_tags, generic_tags, mac_platforms

from kiln_pipeline.core.platforms import BuildIdentifier, Floors, Platform, PythonTag

_MOST_TAGS = 4096
"""A compressed tag set that spells more tags than this serves nothing: no real one has more than some dozens."""
UNSERVED = np.iinfo(np.int32).max
"""The rank of a tag set that a target does not accept."""
LEGACY_MANYLINUX = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}
"""glibc -> its name before PEP 600."""
_OLDEST_GLIBC = {"x86_64": (2, 5), "aarch64": (2, 17)}
"""manylinux1 is the oldest policy for x86_64, manylinux2014 for everything newer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """An interpreter on a platform with its oldest system: what a wheel is wanted for."""

    identifier: BuildIdentifier
    floors: Floors = Floors()


def interpreter_abi(python: PythonTag) -> str:
    """Return the ABI tag of an interpreter's own wheels: ``cp311``, ``cp37m``, ``cp313t``, ``pypy310_pp73``.

    PyPy's is that of the PyPy that cibuildwheel builds with today: PyPy 8 (``pp80``) for 3.11 and later, 7.3 before.
    """
    if python.implementation == "pp":
        series = "pp80" if (python.major, python.minor) >= (3, 11) else "pp73"
        return f"pypy{python.major}{python.minor}_{series}"
    return f"{python}m" if (python.major, python.minor) < (3, 8) else str(python)


def manylinux_platforms(glibc: tuple[int, int], machine: str) -> Iterator[str]:
    """Yield the platform tags that run on `glibc`, newest first (PEP 600), each legacy alias after its equal."""
    major, newest = glibc
    oldest = _OLDEST_GLIBC[machine]
    for minor in range(newest, oldest[1] - 1 if major == oldest[0] else -1, -1):
        yield f"manylinux_{major}_{minor}_{machine}"
        if (major, minor) in LEGACY_MANYLINUX:
            yield f"{LEGACY_MANYLINUX[major, minor]}_{machine}"


def musllinux_platforms(musl: tuple[int, int], machine: str) -> Iterator[str]:
    """Yield the platform tags that run on `musl`, newest first (PEP 656)."""
    for minor in range(musl[1], -1, -1):
        yield f"musllinux_{musl[0]}_{minor}_{machine}"


@lru_cache(maxsize=256)
def platform_tags(platform: Platform, floors: Floors) -> tuple[str, ...]:
    """Return the platform tags that run on the oldest system of a target, best first. Bare ``linux_*`` is none of them."""
    match platform:
        case Platform.MACOSX_ARM64:
            return tuple(mac_platforms(floors.macosx_arm64, "arm64"))
        case Platform.MACOSX_X86_64:
            return tuple(mac_platforms(floors.macosx_x86_64, "x86_64"))
        case Platform.MANYLINUX_X86_64 | Platform.MANYLINUX_AARCH64:
            return tuple(manylinux_platforms(floors.glibc, platform.machine))
        case Platform.MUSLLINUX_X86_64 | Platform.MUSLLINUX_AARCH64:
            return tuple(musllinux_platforms(floors.musl, platform.machine))
    assert_never(platform)


@lru_cache(maxsize=2048)
def accepted_tags(identifier: BuildIdentifier, floors: Floors = Floors()) -> tuple[Tag, ...]:
    """Return every tag that an installer on the target accepts, best first, as pip orders them."""
    python, platforms = identifier.python, platform_tags(identifier.platform, floors)
    version, abi = (python.major, python.minor), interpreter_abi(python)
    interpreter = f"{python.implementation}{python.major}{python.minor}"
    own = (
        cpython_tags(version, abis=[abi], platforms=platforms)
        if python.implementation == "cp"
        else generic_tags(interpreter, abis=[abi], platforms=platforms)
    )
    return (*own, *compatible_tags(version, interpreter=interpreter, platforms=platforms))


@lru_cache(maxsize=2048)
def ranks_of(target: Target) -> Mapping[Tag, int]:
    """Return every accepted tag of a target with its rank, 0 the best."""
    ranks: dict[Tag, int] = {}
    for rank, tag in enumerate(accepted_tags(target.identifier, target.floors)):
        ranks.setdefault(tag, rank)
    return ranks


def parse_tag_set(text: str) -> frozenset[Tag]:
    """Return the tags that ``py2.py3-none-any`` spells (PEP 425); none when it is no tag set, or an absurdly big one."""
    parts = [part.split(".") for part in text.split("-")]
    if len(parts) != 3 or len(parts[0]) * len(parts[1]) * len(parts[2]) > _MOST_TAGS:
        return frozenset()
    return frozenset(Tag(*combination) for combination in product(*parts))


def tag_ranks(tag_sets: Sequence[str], targets: Sequence[Target]) -> npt.NDArray[np.int32]:
    """Return, for each distinct tag set (rows) and target (columns), the rank of its best tag; `UNSERVED` when none fits.

    Each tag set is parsed once, whatever the number of files that carry it.
    """
    parsed = [parse_tag_set(text) for text in tag_sets]
    ranks = np.full((len(tag_sets), len(targets)), UNSERVED, dtype=np.int32)
    for column, target in enumerate(targets):
        rank_of = ranks_of(target)
        for row, tags in enumerate(parsed):
            ranks[row, column] = min((rank_of[tag] for tag in tags if tag in rank_of), default=UNSERVED)
    return ranks
