"""`kiln host run`: the worker of a build host, with the right settings. What it does with a run is `defs.worker`'s matter."""

import importlib.util
import os
import sys
from pathlib import Path

import click

from kiln_pipeline.cli.commands import open_workspace


@click.command("run")
@click.option(
    "--platform", "platforms", multiple=True, metavar="P", help="What to take work for (default: as enrolled). Repeatable."
)
@click.option("--slots", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Runs at the same time.")
def run(platforms: tuple[str, ...], slots: int) -> None:
    """Take build runs from the queues of this host's platforms, until it is stopped.

    Needs KILN_BROKER and KILN_DATABASE, and the extra `hosts`. It only dials out: to broker, database, inbox, state and upstream.
    Without --platform it serves what deploy/hosts.toml enrols it for, else its own platform. SIGTERM or Ctrl-C ends the runs
    that it has; Dagster starts them again on another host, or here later.
    """
    from kiln_pipeline.core.platforms import Platform
    from kiln_pipeline.defs.instance import prepare
    from kiln_pipeline.errors import Problem, RecipeError

    workspace = open_workspace()
    problems = [
        Problem(file="environment", field=name, message=f"not set: it names the control plane's {what}, such as {example}")
        for name, what, example in (
            ("KILN_BROKER", "broker", "redis://:password@host:6379/0"),
            ("KILN_DATABASE", "database", "postgresql+psycopg2://user:password@host:5432/kiln"),
        )
        if not os.environ.get(name)
    ]
    problems += [
        Problem(file="--platform", field="", message=f"{name!r} is none of {', '.join(Platform)}")
        for name in platforms
        if name not in Platform.__members__.values()
    ]
    if importlib.util.find_spec("celery") is None:
        problems.append(Problem(file="celery", field="", message="not installed: pip install -c constraints.txt '.[hosts]'"))
    if problems:
        raise RecipeError(problems)
    served = tuple(dict.fromkeys(platforms)) or _enrolled(workspace)
    prepare(Path.cwd(), workspace.home, os.environ, settings="deploy/build-host/dagster.yaml", name="host")
    click.echo(f"{workspace.host_name}: takes runs for {', '.join(served)}, {slots} at a time, until Ctrl-C")
    os.environ["KILN_HOST"] = workspace.host_name
    command = [sys.executable, "-m", "celery", "-A", "kiln_pipeline.defs.worker", "worker"]
    command += ["-Q", ",".join(served), "-n", f"kiln@{workspace.host_name}", f"--concurrency={slots}", "--prefetch-multiplier=1"]
    command += ["--without-gossip", "--without-mingle", "--loglevel=INFO"]
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606 - so that signals reach the worker itself


def _enrolled(workspace: object) -> tuple[str, ...]:
    """Return the platforms that this host is enrolled for where that is known, else its own. Raises `KilnError`."""
    from kiln_pipeline.errors import Problem, RecipeError
    from kiln_pipeline.workspace import Workspace

    assert isinstance(workspace, Workspace)
    if workspace.hosts_file is None:
        return (workspace.platform(),)
    host = workspace.hosts.get(workspace.host_name)
    file = workspace.hosts_file.name
    if host is None:
        message = f"{workspace.host_name!r} is not enrolled: `kiln host enroll` prints its lines, and KILN_HOST names this host"
        raise RecipeError([Problem(file=file, field="hosts", message=message)])
    if host.revoked is not None:
        message = f"it was revoked on {host.revoked}: {host.reason}; one that comes back gets a new name and a new key"
        raise RecipeError([Problem(file=file, field=host.name, message=message)])
    return host.platforms
