"""A build plan: everything that one attempt is given, decided before anything runs. It names no host and no folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.distributions import DistributionFile, Release
from kiln_pipeline.core.missing_wheels import MissingWheel
from kiln_pipeline.core.platforms import BuildIdentifier, Floors
from kiln_pipeline.core.recipes import BuildSettings, Recipe, settings_for
from kiln_pipeline.core.sdist_claims import SdistClaims
from kiln_pipeline.core.strategies import Strategy


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildPlan:
    """One attempt: a release's sdist, a build identifier and the settings in force."""

    release: Release
    identifier: BuildIdentifier
    sdist: DistributionFile
    settings: BuildSettings
    floors: Floors = Floors()
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Environment variables of an ad-hoc run, above the recipe's."""
    build_number: int = 1
    """The wheel's build tag: 1 for the first wheel of ours for this release and identifier."""
    expects_extension: bool = True
    """Whether a wheel without any extension module is a lost extension, not a pure project."""
    recipe_text: str = ""
    recipe_sha256: str = ""
    """Both empty for an ad-hoc build without a recipe."""
    strategy: Strategy = Strategy()
    """The rung of the ladder that a builder is asked for. No part of what an attempt is asked: its statement says which won."""
    caches: bool = True
    """Whether the builder may use what earlier builds left in its caches; an independent rebuild may not. No part of what an
    attempt is asked, since no byte of the wheel may depend on it: the statement's materials and environment say what was used."""

    @property
    def source_date_epoch(self) -> int:
        """The sdist's upload time in seconds since 1970; 315532800 (1980-01-01, the zip format's first date) without one."""
        return int(self.sdist.upload_time.timestamp()) if self.sdist.upload_time else 315532800

    @property
    def constraints(self) -> tuple[str, ...]:
        """What bounds the build requirements: the recipe's constraints, and the strategy's for the other projects."""
        stated = {_constrained(line) for line in self.settings.constraints}
        return (*self.settings.constraints, *(line for line in self.strategy.constraints if _constrained(line) not in stated))


UNREPAIRED = "unrepaired-wheel"


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """Something that went into a build (an in-toto ResourceDescriptor): a requirement, an image, an interpreter, a tool."""

    name: str
    """For example ``Cython==0.29.37``, ``cibuildwheel==4.3.3``, ``cpython==3.11.7``, ``ziglang==0.17.1``."""
    kind: str
    """``build-requirement``, ``tool``, ``interpreter``, ``image`` or ``sdist``; ``cache``, which spares time and changes nothing;
    or `UNREPAIRED`, which came out of it."""
    uri: str = ""
    sha256: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why an attempt failed: the class's name, the log line that proves it, a hint for a person."""

    failure_class: str
    proof: str
    hint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildResult:
    """What a builder hands back. Exactly one of `wheel` and `failure` is set; the log is the builder's file, kept either way."""

    builder: str
    """``cibuildwheel`` or ``zig``."""
    wheel: Path | None = None
    failure: Failure | None = None
    materials: tuple[Material, ...] = ()
    command: tuple[str, ...] = ()
    """The command as run, with folders written as ``{work}`` and the like, for provenance."""
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The environment variables that kiln set for the build (never the host's own)."""
    generated: tuple[str, ...] = ()
    """Paths in the sdist of C sources that a Cython too old for the target's Python generated, with their .pyx beside them."""
    unrepaired: Material | None = None
    """The wheel before auditwheel or delocate; None when the build did not come so far, or needs no repair."""
    claims: SdistClaims = SdistClaims()
    """What the sdist says that the wheel must say too, before any patch."""
    enforced: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Field of `core.limits.Limits`, or part of the host that was closed to the build -> how that was enforced."""


def build_number(release: Release, identifier: BuildIdentifier, attempts: Sequence[Attempt]) -> int:
    """Return the build tag of the next wheel: 1 + the wheels of ours that exist, so that no filename is ever used twice."""
    return 1 + sum(
        attempt.outcome is Outcome.SUCCEEDED and (attempt.release, attempt.identifier) == (release, identifier)
        for attempt in attempts
    )


def plan_for(missing: MissingWheel, *, recipe: Recipe | None, attempts: Sequence[Attempt]) -> BuildPlan:
    """Return the plan that builds a missing wheel with the recipe's settings for that version."""
    plan = BuildPlan(
        release=missing.release,
        identifier=missing.identifier,
        sdist=missing.sdist,
        settings=BuildSettings() if recipe is None else settings_for(recipe, Version(missing.release.version)),
        build_number=build_number(missing.release, missing.identifier, attempts),
        expects_extension=missing.expects_extension,
    )
    if recipe is None:
        return plan
    return replace(plan, floors=recipe.floors, recipe_text=recipe.text, recipe_sha256=recipe.sha256)


def _constrained(line: str) -> str:
    return canonicalize_name(Requirement(line).name)
