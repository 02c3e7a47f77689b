"""Building again with what a statement records: the plan, the pins and the image of that build, and no others. Pure.

A statement may come from a site that is not ours, and what it asks for ends up in commands: it gets no further than a recipe.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from kiln_pipeline.core.build_plan import BuildPlan, Material
from kiln_pipeline.core.cibuildwheel_options import read_options
from kiln_pipeline.core.provenance.statement import Statement
from kiln_pipeline.core.rebuilds import Obstacle
from kiln_pipeline.core.toml_tables import TableReader
from kiln_pipeline.errors import NotRebuildable, Problem

FROM_INDEX = frozenset({"build-requirement", "tool"})
"""The kinds of materials that come from the index; tools that kiln itself pins have no sha256, and are had by their pin."""
_PIN = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*==[0-9][A-Za-z0-9.+!]*", re.ASCII)
_IMAGE = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*(?::[0-9]+)?(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*(?::[A-Za-z0-9][A-Za-z0-9._-]*)?", re.ASCII
)


def replay_plan(statement: Statement) -> BuildPlan:
    """Return the plan that repeats a statement's build: its strategy, and no other file than those recorded with a sha256.

    It uses no cache that an earlier build has left.

    Raises `NotRebuildable` when a build requirement is on record without one (then it cannot be had again for certain), or when
    the statement's options are none that a recipe may set.
    """
    subject, materials = str(statement.plan.release), statement.materials
    unknown = [material.name for material in materials if material.kind == "build-requirement" and not material.sha256]
    if unknown:
        reason = f"no sha256 is on record for {', '.join(unknown)}"
        raise NotRebuildable(subject=subject, obstacle=Obstacle.NOT_RECORDED, reason=reason)
    problems: list[Problem] = []
    options = statement.plan.settings.cibuildwheel
    read_options(TableReader(options, file="statement", problems=problems, path="cibuildwheel"), None)
    if problems:
        reason = f"it was built with options that no recipe may set: {'; '.join(map(str, problems))}"
        raise NotRebuildable(subject=subject, obstacle=Obstacle.REFUSED, reason=reason)
    only = tuple(sorted({material.sha256 for material in materials if material.kind in FROM_INDEX and material.sha256}))
    return replace(statement.plan, strategy=replace(statement.strategy, only=only), caches=False)


def recorded_pins(materials: Iterable[Material], names: Sequence[str], *, subject: str) -> tuple[str, ...]:
    """Return the pins (``name==version``) of the tools called `names`, in that order. Raises `NotRebuildable` for one without."""
    found = {
        pin.partition("==")[0]: pin for pin in (item.name for item in materials if item.kind == "tool") if _PIN.fullmatch(pin)
    }
    missing = [name for name in names if name not in found]
    if missing:
        reason = f"no version is on record of {', '.join(missing)}"
        raise NotRebuildable(subject=subject, obstacle=Obstacle.NOT_RECORDED, reason=reason)
    return tuple(found[name] for name in names)


def recorded_image(materials: Iterable[Material], *, subject: str) -> tuple[str, str]:
    """Return the container image's name, without its tag, and its sha256. Raises `NotRebuildable` for a build without one."""
    image = next((material for material in materials if material.kind == "image"), None)
    if image is None or not image.sha256 or not _IMAGE.fullmatch(image.name):
        reason = f"no digest is on record of the container image{f' {image.name!r}' if image else ''}"
        raise NotRebuildable(subject=subject, obstacle=Obstacle.NOT_RECORDED, reason=reason)
    folder, slash, name = image.name.rpartition("/")
    return f"{folder}{slash}{name.partition(':')[0]}", image.sha256


def recorded_interpreter(materials: Iterable[Material]) -> str:
    """Return ``cpython==3.11.7``, or an empty string when no interpreter is on record."""
    return next((material.name for material in materials if material.kind == "interpreter"), "")


def changed_materials(recorded: Iterable[Material], used: Iterable[Material]) -> tuple[str, ...]:
    """Return in words what went into a rebuild otherwise than into the recorded build; empty when all is the same."""
    before, after = (
        {(item.kind, item.name, item.sha256) for item in materials if item.kind != "cache"} for materials in (recorded, used)
    )
    # an image is asked for by its digest this time, and its tag is not part of the name then
    lost = [key for key in sorted(before - after) if key[0] != "image" or key[2] not in {sha256 for _, _, sha256 in after}]
    added = [key for key in sorted(after - before) if key[0] != "image" or key[2] not in {sha256 for _, _, sha256 in before}]
    return (
        *(f"recorded, and not used this time: {_told(key)}" for key in lost),
        *(f"used this time, and not on record: {_told(key)}" for key in added),
    )


def _told(material: tuple[str, str, str]) -> str:
    kind, name, sha256 = material
    return f"{kind} {name}{f' sha256 {sha256}' if sha256 else ''}"
