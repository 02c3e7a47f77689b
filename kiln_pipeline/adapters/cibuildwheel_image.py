"""Which container image cibuildwheel takes for a build, before any engine is asked.

It looks, from the last word to the first, at the host's variable, the overrides that match, the table of the platform, the
recipe's table and its own default; a short name such as ``manylinux_2_28`` is looked up in the list that comes with each version.
"""

import configparser
import fnmatch
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import bracex

from kiln_pipeline.core.build_plan import BuildPlan
from kiln_pipeline.core.platforms import BuildIdentifier


def option_name(identifier: BuildIdentifier) -> str:
    """Return cibuildwheel's option for the image of an identifier: ``manylinux-x86_64-image``."""
    platform = identifier.platform
    pypy = "pypy_" if identifier.python.implementation == "pp" and platform.family == "manylinux" else ""
    return f"{platform.family}-{pypy}{platform.machine}-image"


def variable(identifier: BuildIdentifier) -> str:
    """Return the environment variable of the same option: ``CIBW_MANYLINUX_X86_64_IMAGE``."""
    return f"CIBW_{option_name(identifier).upper().replace('-', '_')}"


def stated_image(plan: BuildPlan, host: Mapping[str, str], resources: Path) -> str:
    """Return the reference that cibuildwheel takes for a plan; `resources` is the folder of that name in its package."""
    option = option_name(plan.identifier)
    defaults = tomllib.loads((resources / "defaults.toml").read_text(encoding="utf-8"))["tool"]["cibuildwheel"]
    found = ""
    for table in (defaults, *_tables(plan.settings.cibuildwheel, str(plan.identifier))):
        found = str(table.get(option) or found)
    found = host.get(variable(plan.identifier)) or found
    pinned = configparser.ConfigParser(inline_comment_prefixes=("#",))
    pinned.read(resources / "pinned_docker_images.cfg", encoding="utf-8")
    machine = option.removesuffix("-image").partition("-")[2]
    return pinned.get(machine, found, fallback=found)


def _tables(options: Mapping[str, object], identifier: str) -> Sequence[Mapping[str, object]]:
    """Return the tables of a recipe that hold for an identifier, the weakest first."""
    below = cast(Mapping[str, object], options.get("linux", {}))
    overrides = cast(Sequence[Mapping[str, object]], options.get("overrides", ()))
    return (options, below, *(override for override in overrides if _selects(override.get("select", ""), identifier)))


def _selects(select: object, identifier: str) -> bool:
    words = select.split() if isinstance(select, str) else cast(Sequence[str], select)
    return any(fnmatch.fnmatch(identifier, pattern) for word in words for pattern in bracex.expand(word))
