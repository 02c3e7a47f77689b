"""Recipes from TOML text: strict, every problem of every file at once. `adapters.recipe_folder` reads the files, nothing here.

The words of single values (a version, a constraint, a package name) are in `core.recipe_values`, cibuildwheel's own options
in `core.cibuildwheel_options`.
"""

import hashlib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from kiln_pipeline.core import recipe_values as values
from kiln_pipeline.core.cibuildwheel_options import OldestTool, read_options
from kiln_pipeline.core.distributions import project_name
from kiln_pipeline.core.limits import LOWEST, NAMES
from kiln_pipeline.core.mirror.settings import Mirror, MirrorMode, read_mirror
from kiln_pipeline.core.patches import Patch, patched_files
from kiln_pipeline.core.platforms import BuildIdentifier, Floors, Platform, PythonTag, cibuildwheel_version
from kiln_pipeline.core.recipes import BuildSettings, Override, Recipe, SettingsLayer, admits
from kiln_pipeline.core.strategies import Rung
from kiln_pipeline.core.toml_tables import TableReader
from kiln_pipeline.errors import Problem, RecipeError

DEFAULTS_FILE = "recipes/defaults.toml"
_OF_THE_RECIPE = frozenset({"targets", "pythons", "platforms", "min-age", "mirror", "prereleases", "priority", "demo"})
PATCHES = "patches"
"""The folder beside a recipe that holds its patches."""


def recipe_file(folder: str) -> str:
    """Return where a project's recipe is, as messages name it."""
    return f"recipes/{folder}/recipe.toml"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Common:
    """What defaults and recipes both state, a recipe's over the defaults'. Tuples are empty only where something was wrong."""

    pythons: tuple[PythonTag, ...] = ()
    platforms: tuple[Platform, ...] = ()
    floors: Floors = Floors()
    min_age: timedelta = timedelta(hours=24)
    mirror: Mirror = Mirror()
    settings: BuildSettings = BuildSettings()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Patches:
    """The patches in a recipe's folder (name -> text): call it with a name that a table lists."""

    texts: Mapping[str, str] = field(default_factory=dict[str, str])
    used: dict[str, Patch] = field(default_factory=dict[str, Patch])

    def __call__(self, name: str) -> Patch:
        if name not in self.texts:
            there = f"known are {', '.join(sorted(self.texts))}" if self.texts else f"the recipe has no {PATCHES}/*.patch"
            raise ValueError(f"{name!r} is no file in {PATCHES}/; {there}")
        patch = self.used[name] = Patch(name=name, text=self.texts[name])
        try:
            patched_files(patch.text)
        except ValueError as error:
            raise ValueError(f"{PATCHES}/{name} {error}") from None
        return patch


def parse_recipes(
    defaults: str,
    recipes: Mapping[str, str],
    *,
    patches: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    defaults_file: str = DEFAULTS_FILE,
    file_of: Callable[[str], str] = recipe_file,
) -> tuple[Recipe, ...]:
    """Parse ``recipes/defaults.toml`` and the recipes (folder name -> TOML text); return them sorted by project.

    `patches` has those of each folder (name -> text). `defaults_file` and `file_of` say how messages name the files. Raises one
    `RecipeError` with every problem of every file.
    """
    problems: list[Problem] = []
    common = _parse_defaults(defaults, defaults_file, problems)
    beside = {folder: _Patches(texts=patches.get(folder, {})) for folder in sorted(recipes)}
    parsed = [_parse_recipe(folder, recipes[folder], file_of(folder), common, beside[folder], problems) for folder in beside]
    if problems:
        raise RecipeError(problems)
    texts = (f"{defaults}\n{recipes[folder]}{_digests(beside[folder])}" for folder in beside)
    hashed = (
        replace(recipe, text=text, sha256=hashlib.sha256(text.encode()).hexdigest())
        for recipe, text in zip(parsed, texts, strict=True)
        if recipe is not None
    )
    return tuple(sorted(hashed, key=lambda recipe: recipe.project))


def _digests(patches: _Patches) -> str:
    """Return a line of TOML comment for each patch in force, so that the recipe's hash covers them."""
    lines = (f"# {PATCHES}/{name} sha256={patches.used[name].sha256}\n" for name in sorted(patches.used))
    return "".join(("\n", *lines)) if patches.used else ""


def _reader(text: str, file: str, problems: list[Problem]) -> TableReader | None:
    try:
        return TableReader(tomllib.loads(text), file=file, problems=problems)
    except tomllib.TOMLDecodeError as error:
        problems.append(Problem(file=file, field="", message=f"is no valid TOML: {error}; mend that line"))
        return None


def _parse_defaults(text: str, file: str, problems: list[Problem]) -> _Common:
    reader = _reader(text, file, problems)
    if reader is None:
        return _Common()
    targets = reader.table("targets")
    targets.require("pythons", 'list the Pythons that recipes get unless they say otherwise, for example ["cp311", "cp312"]')
    targets.require("platforms", f"list some of {', '.join(Platform)}")
    common = _read_common(reader, _Common(), _Patches())
    reader.finish()
    return common


def _parse_recipe(
    folder: str, text: str, file: str, defaults: _Common, patches: _Patches, problems: list[Problem]
) -> Recipe | None:
    reader = _reader(text, file, problems)
    if reader is None:
        return None
    before = len(problems)
    project = _read_project(reader, folder)
    reader.require("reason", "say in one line why this project needs wheels of ours")
    reader.require("versions", 'say which releases are wanted, for example "==1.2.3" or [">=1,<2", "==2.1"]; [] builds nothing')
    reason = reader.text("reason", values.one_line)
    versions = reader.texts("versions", values.specifier_set, or_one=True) or ()
    prereleases = reader.flag("prereleases") or False
    demo = _read_demo(reader, versions, prereleases)
    priority = reader.integer("priority") or 0
    notes = reader.texts("notes", values.one_line) or ()
    common = _read_common(reader, defaults, patches)
    if reader.data.get("versions") == [] and common.mirror.mode is MirrorMode.NONE:
        reader.report("versions", 'is empty and mirror is "none": the recipe does nothing; write versions, or another mirror')
    overrides = tuple(_read_override(override, common, patches) for override in reader.tables("overrides"))
    reader.finish()
    unused = ", ".join(sorted(patches.texts.keys() - patches.used.keys()))
    if unused:
        reader.report("build", f"lists none of {PATCHES}/: {unused}; list it in patches, or remove the file")
    if len(problems) > before or project is None or reason is None:
        return None
    return Recipe(
        project=project,
        reason=reason,
        versions=versions,
        pythons=common.pythons,
        platforms=common.platforms,
        floors=common.floors,
        demo=demo,
        priority=priority,
        notes=notes,
        prereleases=prereleases,
        min_age=common.min_age,
        mirror=common.mirror,
        settings=common.settings,
        overrides=overrides,
    )


def _read_project(reader: TableReader, folder: str) -> str | None:
    reader.require("project", f'write project = "{folder}", the name of the recipe\'s folder')
    project = reader.text("project", project_name)
    if project is not None and project != folder:
        reader.report("project", f"is {project!r}, but the recipe's folder is {folder!r}; name the folder {project!r}")
    return project


def _read_demo(reader: TableReader, versions: tuple[SpecifierSet, ...], prereleases: bool) -> tuple[str, ...]:
    demo = reader.texts("demo", values.version) or ()
    for version in demo:
        if versions and not admits(versions, version):
            reader.report("demo", f"{version} is not among the wanted versions; add it to versions or leave it out")
        elif version.is_prerelease and not prereleases:
            reader.report("demo", f"{version} is a pre-release; set prereleases = true or leave it out")
    return tuple(map(str, demo))


def _read_common(reader: TableReader, beneath: _Common, patches: _Patches) -> _Common:
    targets = reader.table("targets")
    pythons = targets.texts("pythons", PythonTag.parse)
    platforms = targets.texts("platforms", values.platform)
    merged = replace(
        beneath,
        pythons=beneath.pythons if pythons is None else pythons,
        platforms=beneath.platforms if platforms is None else platforms,
        floors=_read_floors(targets, beneath.floors),
    )
    for key, listed in (("pythons", pythons), ("platforms", platforms)):
        if listed == ():
            targets.report(key, "is empty; list at least one, or leave the key out to take the defaults")
    if targets.data.keys() & {"pythons", "platforms"}:
        _check_targets(targets, merged)
    targets.finish()
    age = reader.text("min-age", values.age)
    layer = _read_settings(reader, merged, patches)
    merged = replace(merged, min_age=beneath.min_age if age is None else age, mirror=read_mirror(reader, beneath.mirror))
    return replace(merged, settings=layer.over(beneath.settings))


def _read_floors(targets: TableReader, beneath: Floors) -> Floors:
    floors = {name: targets.text(key, values.floor(lowest, why)) for name, key, lowest, why in values.FLOORS}
    return replace(beneath, **{name: floor for name, floor in floors.items() if floor is not None})


def _check_targets(targets: TableReader, common: _Common) -> None:
    def buildable(python: PythonTag, platform: Platform) -> bool:
        return cibuildwheel_version(BuildIdentifier(python=python, platform=platform)) is not None

    if not common.pythons or not common.platforms:
        return
    for python in common.pythons:
        if not any(buildable(python, platform) for platform in common.platforms):
            targets.report("pythons", f"no cibuildwheel builds {python} on {', '.join(common.platforms)}; leave it out")
    for platform in common.platforms:
        if not any(buildable(python, platform) for python in common.pythons):
            targets.report(
                "platforms", f"no cibuildwheel builds {', '.join(map(str, common.pythons))} on {platform}; leave it out"
            )


def _oldest_tool(common: _Common) -> OldestTool | None:
    identifiers = (BuildIdentifier(python=python, platform=on) for python in common.pythons for on in common.platforms)
    known = [(Version(tool), str(identifier)) for identifier in identifiers if (tool := cibuildwheel_version(identifier))]
    tool, identifier = min(known, default=(None, ""))
    return OldestTool(version=str(tool), identifier=identifier) if tool else None


def _read_settings(reader: TableReader, common: _Common, patches: _Patches) -> SettingsLayer:
    build = reader.table("build")
    constraints = build.texts("constraints", values.constraint)
    extensions = build.texts("extensions", values.import_name)
    listed_patches = build.texts("patches", patches)
    time_travel = build.text("time-travel", values.time_travel)
    ladder = build.texts("ladder", values.rung)
    if ladder == ():
        build.report("ladder", f"is empty; list some of {', '.join(Rung)}, or leave it out to try them all")
    network = build.flag("network")
    build.finish()
    packages = reader.table("system-packages")
    listed = {manager: packages.texts(manager, values.system_package) for manager in values.PACKAGE_MANAGERS}
    packages.finish()
    options = read_options(reader.table("cibuildwheel"), _oldest_tool(common)) if "cibuildwheel" in reader else None
    stated = {manager: names for manager, names in listed.items() if names is not None}
    return SettingsLayer(
        cibuildwheel=None if options is None else MappingProxyType(options),
        constraints=constraints,
        extensions=extensions,
        patches=listed_patches,
        system_packages=MappingProxyType(stated) if "system-packages" in reader else None,
        time_travel=time_travel,
        ladder=ladder,
        network=network,
        limits=_read_limits(reader.table("limits")) if "limits" in reader else None,
    )


def _read_limits(limits: TableReader) -> dict[str, int]:
    """Read ``[limits]``: sizes and times as texts with their unit, counts as integers; none below `LOWEST`."""
    stated: dict[str, int] = {}
    for name in NAMES:
        key, lowest = name.replace("_", "-"), int(getattr(LOWEST, name))
        if name in ("cpus", "processes"):
            value = limits.integer(key)
        else:
            value = limits.text(key, values.duration if name in ("time", "cpu_time") else values.size)
        if value is None:
            continue
        if value < lowest:
            limits.report(key, f"is too low for any build: at least {values.limit_text(name, lowest)}")
        stated[name] = value
    limits.finish()
    return stated


def _read_override(reader: TableReader, common: _Common, patches: _Patches) -> Override:
    reader.require("versions", 'say which releases it is for, for example "<5"')
    versions = reader.texts("versions", values.specifier_set, or_one=True) or ()
    if not reader.data.keys() & {"build", "system-packages", "limits", "cibuildwheel", *_OF_THE_RECIPE}:
        tables = "build, system-packages, limits and cibuildwheel"
        reader.report("build", f"is missing: write at least one of {tables} below [[overrides]]")
    settings = _read_settings(reader, common, patches)
    for key in sorted(reader.data.keys() & _OF_THE_RECIPE):
        reader.refuse(
            key, f"an override says how some versions are built, not which are wanted; state {key} for the whole recipe"
        )
    reader.finish()
    return Override(versions=versions, settings=settings)
