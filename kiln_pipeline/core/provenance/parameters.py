"""A statement's external parameters: a build plan as JSON and back, without loss. Nothing here knows the rest of a statement."""

import hashlib
from dataclasses import fields
from types import MappingProxyType

from kiln_pipeline.core.build_plan import BuildPlan
from kiln_pipeline.core.distributions import DistributionFile, FileKind, Release
from kiln_pipeline.core.limits import NAMES, Limits
from kiln_pipeline.core.patches import Patch
from kiln_pipeline.core.platforms import BuildIdentifier, Floors
from kiln_pipeline.core.recipes import BuildSettings
from kiln_pipeline.core.strategies import Rung
from kiln_pipeline.core.strict_json import Table, format_time
from kiln_pipeline.errors import RecipeError, VerificationError

_FIELDS = {
    "ad_hoc_environment", "build_number", "expects_extension", "floors", "identifier", "recipe", "release", "sdist", "settings",
}  # fmt: skip
_PATCH = ("name", "sha256", "text")


def external_parameters(plan: BuildPlan) -> dict[str, object]:
    """Return everything that the plan decides, as a table for `strict_json.canonical`."""
    sdist = _table(plan.sdist)
    sdist["upload_time"] = format_time(plan.sdist.upload_time) if plan.sdist.upload_time else ""
    return {
        "release": str(plan.release),
        "identifier": str(plan.identifier),
        "sdist": sdist,
        "build_number": plan.build_number,
        "expects_extension": plan.expects_extension,
        "recipe": {"text": plan.recipe_text, "sha256": plan.recipe_sha256},
        "settings": {
            **_table(plan.settings),
            "patches": [_patch(patch) for patch in plan.settings.patches],
            "limits": _table(plan.settings.limits),
        },
        "floors": _table(plan.floors),
        "ad_hoc_environment": plan.environment,
    }


def read_external_parameters(definition: Table) -> BuildPlan:
    """Return the plan that a build definition's ``externalParameters`` describe. Raises `VerificationError`."""
    external = definition.table("externalParameters", fields=_FIELDS)
    try:
        release = Release.parse(external.text("release"))
        identifier = BuildIdentifier.parse(external.text("identifier"))
    except (RecipeError, ValueError) as error:
        raise VerificationError(subject=external.subject, reason=str(error)) from error
    external.exactly("release", str(release))
    external.exactly("identifier", str(identifier))
    recipe = external.table("recipe", fields={"text", "sha256"})
    text = recipe.text("text")
    recipe.exactly("sha256", hashlib.sha256(text.encode()).hexdigest() if text else "")
    return BuildPlan(
        release=release,
        identifier=identifier,
        sdist=_read_sdist(external.table("sdist", fields=_names(DistributionFile))),
        settings=_read_settings(external.table("settings", fields=_settings_fields(external))),
        floors=_read_floors(external.table("floors", fields=_names(Floors))),
        environment=MappingProxyType(external.text_map("ad_hoc_environment")),
        build_number=external.whole("build_number"),
        expects_extension=external.flag("expects_extension"),
        recipe_text=text,
        recipe_sha256=recipe.text("sha256"),
    )


def _read_sdist(table: Table) -> DistributionFile:
    table.exactly("kind", str(FileKind.SDIST))
    return DistributionFile(
        filename=table.text("filename"),
        url=table.text("url"),
        kind=FileKind.SDIST,
        version=table.text("version"),
        sha256=table.sha256("sha256"),
        size=table.whole("size"),
        requires_python=table.text("requires_python"),
        upload_time=table.time("upload_time") if table.raw("upload_time") else None,
        yanked=table.flag("yanked"),
        yanked_reason=table.text("yanked_reason"),
        core_metadata=table.text("core_metadata"),
        provenance=table.text("provenance"),
    )


def _read_settings(table: Table) -> BuildSettings:
    packages = table.table("system_packages", fields=None)
    travels = "time_travel" in table.plain()
    return BuildSettings(
        cibuildwheel=MappingProxyType(table.table("cibuildwheel", fields=None).plain()),
        constraints=table.texts("constraints"),
        extensions=table.texts("extensions"),
        patches=tuple(map(_read_patch, table.tables("patches", fields=_PATCH))) if "patches" in table.plain() else (),
        system_packages=MappingProxyType({manager: packages.texts(manager) for manager in packages.plain()}),
        time_travel=table.text("time_travel") if travels else "latest",
        ladder=_read_ladder(table) if travels else (),
        network=table.flag("network") if table.plain().get("network") is not None else None,
        limits=_read_limits(table) if "limits" in table.plain() else Limits(),
    )


def _settings_fields(external: Table) -> set[str]:
    """Statements from before time travel lack its two fields: they were plain builds. Older ones lack patches and limits too."""
    stated = external.table("settings", fields=None).plain()
    later = ({"time_travel", "ladder"}, {"patches"}, {"network", "limits"})
    return set(_names(BuildSettings)).difference(*(names for names in later if not names & stated.keys()))


def _patch(patch: Patch) -> dict[str, object]:
    return {"name": patch.name, "sha256": patch.sha256, "text": patch.text}


def _read_patch(table: Table) -> Patch:
    patch = Patch(name=table.text("name"), text=table.text("text"))
    table.exactly("sha256", patch.sha256)
    return patch


def _read_limits(table: Table) -> Limits:
    limits = table.table("limits", fields=set(NAMES))
    return Limits(**{name: limits.whole(name) for name in NAMES})


def _read_ladder(table: Table) -> tuple[Rung, ...]:
    try:
        return tuple(map(Rung, table.texts("ladder")))
    except ValueError as error:
        raise table.error("ladder", str(error)) from error


def _read_floors(table: Table) -> Floors:
    def pair(field: str) -> tuple[int, int]:
        match table.items(field):
            case [int() as major, int() as minor]:
                return major, minor
            case _:
                raise table.error(field, "is no pair of whole numbers")

    return Floors(**{field: pair(field) for field in _names(Floors)})


def _names(kind: type[DistributionFile] | type[BuildSettings] | type[Floors]) -> list[str]:
    return [field.name for field in fields(kind)]


def _table(value: DistributionFile | BuildSettings | Floors | Limits) -> dict[str, object]:
    return {field.name: getattr(value, field.name) for field in fields(value)}
