"""The workspace: every adapter that this host uses, chosen by configuration alone. The one place that reads the environment.

    KILN_HOME      where state, site, inbox and keys live (default: .kiln in the working folder)
    KILN_SITE, KILN_INBOX, KILN_STATE   folders, or s3://bucket/prefix (default: site, inbox and state in KILN_HOME)
    KILN_S3_ENDPOINT, AWS_*   the S3-compatible service of those that are in buckets, and the credentials for it
    KILN_RECIPES   the recipes folder (default: recipes in the working folder)
    KILN_UPSTREAM  the upstream simple index (default: the public one)
    KILN_ORIGIN    the audit log's origin, unique to it (default: kiln.invalid/embedded)
    KILN_HOST      this build host's name (default: the machine's)
    KILN_HOSTS     the enrolled build hosts (default: deploy/hosts.toml in the working folder; without it, this host alone)
    KILN_SITE_URL  where people reach the site (default: what `kiln up` serves, http://127.0.0.1:8765/)
    KILN_MIRROR_RATE   bytes a second that the mirror may download, such as 20MB (default: no bound)
    KILN_REPOSITORY   where people read and ask for recipes, for links on pages (default: none)
    KILN_BUILDER   cibuildwheel or zig, to insist on one (default: the first that can build)
    KILN_LOOK_EVERY   seconds between looks for new releases (default: 3600), once automation is on
    KILN_DRY_RUN   1: sensors and schedules only say what they would do
    KILN_JOBS      builds at the same time (default: one a core, fewer where memory is short)

No stage logic here: it only puts adapters together.
"""

import platform
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import pypi_simple

from kiln_pipeline.adapters.alerts_file import load_alert_channels
from kiln_pipeline.adapters.cibuildwheel import CibuildwheelBuilder
from kiln_pipeline.adapters.demand_folder import load_demand
from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.adapters.folder_lock import exclusive
from kiln_pipeline.adapters.host_capacity import builds_at_once
from kiln_pipeline.adapters.hosts_file import load_hosts
from kiln_pipeline.adapters.keys import FileSigner, load_or_create
from kiln_pipeline.adapters.page_templates import JinjaTemplates
from kiln_pipeline.adapters.recipe_folder import DEMAND, load_recipes
from kiln_pipeline.adapters.s3 import S3Store
from kiln_pipeline.adapters.s3_client import parse_location
from kiln_pipeline.adapters.targets_file import load_targets
from kiln_pipeline.adapters.upstream import SimpleApiUpstream
from kiln_pipeline.adapters.zig import ZigBuilder
from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.demand import Demand
from kiln_pipeline.core.hosts import Host
from kiln_pipeline.core.mirror.settings import size
from kiln_pipeline.core.platforms import BuildIdentifier, Platform
from kiln_pipeline.core.rebuilds import Rebuild
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.errors import BuildError, ObjectNotFound, Problem, RecipeError
from kiln_pipeline.ports import AlertChannel, ObjectStore, PageTemplates, Progress, ReleasePage, UpstreamIndex, WheelBuilder
from kiln_pipeline.stages.log_tables import load_attempts, load_rebuilds
from kiln_pipeline.stages.package_pages import SiteIdentity

DEFAULT_SITE_URL = "http://127.0.0.1:8765/"


class Silent:
    """A `Progress` that says nothing."""

    def step(self, text: str) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Everything that stages are given on this host. Tests replace single fields."""

    home: Path
    recipes_folder: Path
    site: ObjectStore
    inbox: ObjectStore
    state: ObjectStore
    upstream: UpstreamIndex
    builders: tuple[WheelBuilder, ...]
    host_name: str
    origin: str
    hosts_file: Path | None = None
    """Who may sign attempts (`core.hosts`); None: this host alone."""
    publish_targets: Callable[[], Mapping[str, ObjectStore | ReleasePage]] = dict
    """Where else the site goes, by name: reads kiln.toml."""
    alert_channels: Callable[[], Mapping[str, tuple[AlertChannel, timedelta]]] = dict
    """Whom to tell what is wrong, by name, and how often the same: reads kiln.toml."""
    site_url: str = DEFAULT_SITE_URL
    builds_at_once: Callable[[], int] = builds_at_once
    """How many builds of one run there may be at the same time."""
    mirror_rate: int = 0
    """Bytes a second that the mirror may download; 0: no bound."""
    repository: str = ""
    look_every: int = 3600
    """Seconds between two looks for new releases."""
    dry_run: bool = False
    """Sensors and schedules say what they would do, and build, publish and alert nothing."""
    templates: PageTemplates = field(default_factory=JinjaTemplates)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    progress: Progress = field(default_factory=Silent)

    @classmethod
    def from_environment(cls, folder: Path, environment: Mapping[str, str], *, progress: Progress | None = None) -> "Workspace":
        """Put the embedded workspace of `folder` together. Reads no file and makes none."""
        home = (folder / environment.get("KILN_HOME", ".kiln")).resolve()
        endpoint = environment.get("KILN_UPSTREAM", pypi_simple.PYPI_SIMPLE_ENDPOINT)
        builders: dict[str, WheelBuilder] = {
            "cibuildwheel": CibuildwheelBuilder(home / "tools", endpoint=endpoint, environment=environment),
            "zig": ZigBuilder(home / "tools", endpoint=endpoint),
        }
        chosen = environment.get("KILN_BUILDER")
        if chosen is not None and chosen not in builders:
            message = f"{chosen!r} is no builder: use cibuildwheel or zig, or leave it unset"
            raise RecipeError([Problem(file="environment", field="KILN_BUILDER", message=message)])
        jobs = _number("KILN_JOBS", environment, "builds")
        every = _number("KILN_LOOK_EVERY", environment, "seconds")
        enrolled = folder / environment.get("KILN_HOSTS", "deploy/hosts.toml")
        return cls(
            home=home,
            recipes_folder=folder / environment.get("KILN_RECIPES", "recipes"),
            site=_store("KILN_SITE", environment, folder, home / "site"),
            inbox=_store("KILN_INBOX", environment, folder, home / "inbox"),
            state=_store("KILN_STATE", environment, folder, home / "state"),
            upstream=SimpleApiUpstream(endpoint),
            builders=(builders[chosen],) if chosen else tuple(builders.values()),
            host_name=environment.get("KILN_HOST") or host_name(),
            origin=environment.get("KILN_ORIGIN", "kiln.invalid/embedded"),
            hosts_file=enrolled if "KILN_HOSTS" in environment or enrolled.is_file() else None,
            publish_targets=partial(load_targets, folder / "kiln.toml", environment),
            alert_channels=partial(load_alert_channels, folder / "kiln.toml", environment),
            site_url=environment.get("KILN_SITE_URL", DEFAULT_SITE_URL),
            mirror_rate=_mirror_rate(environment.get("KILN_MIRROR_RATE", "")),
            builds_at_once=(lambda: jobs) if jobs else builds_at_once,
            repository=environment.get("KILN_REPOSITORY", "").rstrip("/"),
            look_every=every or cls.look_every,
            dry_run=environment.get("KILN_DRY_RUN", "0") not in ("", "0"),
            progress=progress or Silent(),
        )

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """All recipes, read anew each time, as Dagster keeps a workspace for weeks. Raises `RecipeError` with every problem."""
        return load_recipes(self.recipes_folder)

    @property
    def demand(self) -> Demand:
        """Who pins and downloads what (``recipes/demand``), read anew each time. Raises `RecipeError` with every problem."""
        return load_demand(self.recipes_folder / DEMAND)

    @cached_property
    def host_key(self) -> FileSigner:
        """The signing key of this host, made on first use."""
        return load_or_create(self.home / "keys" / "host.pem", self.host_name)

    @cached_property
    def log_key(self) -> FileSigner:
        """The audit log's signing key, made on first use. A build host that is not the publisher never asks for it."""
        return load_or_create(self.home / "keys" / "log.pem", self.origin)

    @property
    def own_host(self) -> Host:
        """The host that runs this, as it would be enrolled: for its own platform, or for all when that is none of kiln's."""
        try:
            platforms = (self.platform(),)
        except BuildError:
            platforms = tuple(Platform)
        return Host(name=self.host_key.name, platforms=platforms, public_key=self.host_key.public_key)

    @property
    def hosts(self) -> Mapping[str, Host]:
        """Enrolled build hosts by name. Without a file of them that is this host alone, for whatever it builds.

        Raises `RecipeError` when the file is not there or wrong.
        """
        if self.hosts_file is not None:
            return load_hosts(self.hosts_file)
        return {self.host_key.name: replace(self.own_host, platforms=tuple(Platform))}

    @contextmanager
    def writing(self, what: Literal["tables", "site", "mirror"]) -> Iterator[None]:
        """Keep other processes of this host from writing the same. Raises `StoreError` that names the holder.

        Dagster's queue keeps its own runs apart (``kiln/writes`` in dagster.yaml); this keeps a terminal and Dagster apart.
        """
        with exclusive(self.home / "locks" / what, f"writing the {what}"):
            yield

    @property
    def published_log_key(self) -> str:
        """The verifier key of the log on the site, as published there; empty before there is one."""
        try:
            return self.site.get(site_layout.LOG_KEY).decode("utf-8", "replace").strip()
        except ObjectNotFound:
            return ""

    @property
    def served_site(self) -> Path | ObjectStore:
        """What a web server on this host serves: the site's folder, or the store itself when it is in none."""
        return self.site.folder if isinstance(self.site, DirectoryStore) else self.site

    def rebuilds(self) -> tuple[Rebuild, ...]:
        """Every rebuild in the audit log, oldest first."""
        return load_rebuilds(self.state, self.site)

    @property
    def identity(self) -> SiteIdentity:
        """Where pages for people say that the site and its recipes are."""
        return SiteIdentity(url=self.site_url, repository=self.repository)

    def attempts(self) -> tuple[Attempt, ...]:
        """Every attempt in the audit log, oldest first."""
        return load_attempts(self.state, self.site)

    def builders_for(self, identifier: BuildIdentifier) -> tuple[WheelBuilder, ...]:
        """Return the builders that can build `identifier` here, the best first. Raises `BuildError` with every one's reason."""
        refusals = {builder.name: builder.refuses(identifier) for builder in self.builders}
        able = tuple(builder for builder in self.builders if not refusals[builder.name])
        if able:
            return able
        reason = "; ".join(f"{name}: {why}" for name, why in refusals.items())
        raise BuildError(subject=str(identifier), reason=f"no builder on this host can build it: {reason}")

    def platform(self) -> Platform:
        """The platform of this host, for `kiln run`. Raises `BuildError` when it is none of kiln's."""
        return host_platform(platform.system(), platform.machine(), platform.libc_ver()[0])


def _store(variable: str, environment: Mapping[str, str], folder: Path, default: Path) -> ObjectStore:
    """Return the store that `variable` names. Raises `RecipeError` for an address that is none."""
    where = environment.get(variable)
    if where and "://" in where:
        return S3Store(parse_location(where, environment, source=variable))
    return DirectoryStore((folder / where).resolve() if where else default)


def _number(variable: str, environment: Mapping[str, str], what: str) -> int:
    """Return a whole number of one or more; 0 when the variable is not set."""
    text = environment.get(variable, "")
    if text and not (text.isascii() and text.isdecimal() and int(text)):
        message = f"{text!r} is no number of {what}: use 1 or more, or leave it unset"
        raise RecipeError([Problem(file="environment", field=variable, message=message)])
    return int(text or 0)


def _mirror_rate(text: str) -> int:
    try:
        return size(text) if text else 0
    except ValueError as error:
        raise RecipeError([Problem(file="environment", field="KILN_MIRROR_RATE", message=str(error))]) from None


def host_platform(system: str, machine: str, libc: str) -> Platform:
    """Return the platform that wheels built natively on such a host are for; values as module `platform` gives them."""
    if system == "Darwin":
        family = "macosx"
    elif system == "Linux":
        family = "manylinux" if libc == "glibc" else "musllinux"
    else:
        family = system.lower()
    name = f"{family}_{machine.lower()}"
    if name not in Platform.__members__.values():
        known = ", ".join(Platform)
        raise BuildError(subject=f"{system} {machine}", reason="kiln does not build on this kind of host", hint=f"only {known}")
    return Platform(name)


def host_name() -> str:
    """The machine's name, cut to what a key name may hold."""
    return re.sub(r"[^a-z0-9.-]", "-", socket.gethostname().lower()) or "localhost"
