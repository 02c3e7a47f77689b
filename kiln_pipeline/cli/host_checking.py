"""`kiln host doctor`: whether this machine can be a build host, line by line, and what to do. Loads no Dagster."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING

import click

from kiln_pipeline.cli.commands import open_workspace

if TYPE_CHECKING:
    from kiln_pipeline.core.host_checks import Finding
    from kiln_pipeline.core.platforms import Platform
    from kiln_pipeline.workspace import Workspace


@click.command()
@click.option("--platform", "platforms", multiple=True, metavar="P", help="What it is to build for (default: as enrolled).")
@click.option("--json", "as_json", is_flag=True, help="The findings as one JSON array, for programs.")
def doctor(platforms: tuple[str, ...], as_json: bool) -> None:
    """Check whether this machine can be a build host, and say what to do where it cannot.

    Looks at builders, images, disk, clock and key, and tries upstream, inbox, broker and database with this environment's
    credentials. Exits with 4 when anything is bad; a note is none. Leaves a small object doctor/<host> in the inbox.
    """
    from kiln_pipeline.core.host_checks import Level
    from kiln_pipeline.core.platforms import Platform
    from kiln_pipeline.errors import BuildError, Problem, RecipeError

    unknown = [name for name in platforms if name not in Platform.__members__.values()]
    if unknown:
        message = f"{', '.join(unknown)} is none of {', '.join(Platform)}"
        raise RecipeError([Problem(file="--platform", field="", message=message)])
    workspace = open_workspace()
    served = tuple(map(Platform, dict.fromkeys(platforms))) or _served(workspace)
    found = list(findings(workspace, served, os.environ))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        for finding in found:
            click.echo(f"{finding.level:<5} {finding.what}: {finding.told}")
            if finding.todo:
                click.echo(f"      {'-> ' + finding.todo}")
    if any(finding.level is Level.BAD for finding in found):
        sys.exit(BuildError.exit_code)


def findings(workspace: "Workspace", served: tuple["Platform", ...], environment: Mapping[str, str]) -> Iterator["Finding"]:
    """Yield the findings on this host as the environment has it, in the order in which one would mend them."""
    from kiln_pipeline.adapters import host_facts
    from kiln_pipeline.adapters.processes import capture, passed_through
    from kiln_pipeline.core import host_checks

    tools = {**passed_through(environment), **{name: value for name, value in environment.items() if name.startswith("CIBW_")}}
    tools |= {"CONTAINERS_CONF": environment["CONTAINERS_CONF"]} if "CONTAINERS_CONF" in environment else {}
    linux = host_facts.linux_facts(tools, zig=any(builder.name == "zig" for builder in workspace.builders))
    contained = any(builder.name == "cibuildwheel" for builder in workspace.builders)
    mac = cache(lambda: host_facts.mac_facts(lambda command: capture(command, environment=tools)))
    for platform in served:
        if platform.family == "macosx":
            yield from host_checks.mac(platform, mac())
            continue
        facts = linux if contained else host_facts.linux_facts({**tools, "CIBW_CONTAINER_ENGINE": "none"}, zig=True)
        yield host_checks.builder(platform, facts)
        yield host_checks.architecture(platform, facts)
        reference = environment.get(f"CIBW_{platform.family}_{platform.machine}_IMAGE".upper(), "")
        if facts.engine and reference:
            yield host_checks.image(platform, reference, host_facts.has_image(reference, tools))
    yield host_checks.disk(str(workspace.home), host_facts.free_bytes(workspace.home))
    upstream = environment.get("KILN_UPSTREAM", "") or host_facts.default_upstream()
    refusal, offset = host_facts.upstream_facts(upstream)
    yield host_checks.reach("upstream", upstream, refusal, variable="KILN_UPSTREAM")
    yield host_checks.clock(offset, "upstream")
    broker = environment.get("KILN_BROKER", "")
    yield host_checks.reach("broker", broker, host_facts.broker_refusal(broker), variable="KILN_BROKER")
    yield host_checks.database(host_facts.database_facts(environment.get("KILN_DATABASE", "")))
    yield host_checks.inbox(host_facts.inbox_facts(workspace.inbox, workspace.host_name))
    own = host_facts.key_facts(workspace.home / "keys" / "host.pem", workspace.host_name)
    hosts = workspace.hosts if workspace.hosts_file is not None else None
    yield from host_checks.key(own, workspace.host_name, served, hosts)
    for name in publisher_keys(workspace):
        yield host_checks.strange_key(name)


def publisher_keys(workspace: "Workspace") -> list[str]:
    """Return what lies here and belongs to the publisher alone."""
    return [str(path) for path in [workspace.home / "keys" / "log.pem"] if path.exists()]


def _served(workspace: "Workspace") -> tuple["Platform", ...]:
    """Return what the host is enrolled for, else its own platform."""
    host = workspace.hosts.get(workspace.host_name) if workspace.hosts_file is not None else None
    return host.platforms if host is not None else (workspace.platform(),)
