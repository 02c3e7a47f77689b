"""`kiln run`, `kiln up`, `kiln serve`: the whole line, Dagster's web interface, the site alone."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from kiln_pipeline.cli import completion
from kiln_pipeline.cli.commands import (
    PORT,
    PORTS,
    SOME_BUILDS_FAILED,
    UI_PORT,
    check_pythons,
    open_workspace,
    terminated_as_interrupt,
)
from kiln_pipeline.errors import UpstreamError


@click.command()
@click.argument("names", nargs=-1, metavar="[PROJECT[==VERSION]]…", shell_complete=completion.projects)
@click.option(
    "--python", "pythons", multiple=True, metavar="TAG", help="Only this Python, such as cp312. Repeatable; 'all' lifts."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Build at most N wheels.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Builds at once (default: by cores and memory).")
@click.option("--prove/--no-prove", default=True, help="Install one of the wheels over HTTP and import it (default: yes).")
def run(names: tuple[str, ...], pythons: tuple[str, ...], limit: int | None, jobs: int | None, prove: bool) -> None:
    """Find, build, record, publish and prove: the whole line, for this host's platform.

    Without names it takes the releases that recipes mark as their demo, for the Python that runs kiln. With names it
    builds every missing Python of those releases. Run again, it builds nothing and changes no byte of the site.
    """
    from kiln_pipeline.adapters.folder_lock import exclusive
    from kiln_pipeline.adapters.terminal import TerminalProgress

    own = f"cp{sys.version_info.major}{sys.version_info.minor}"
    chosen = [tag for tag in pythons if tag != "all"] if pythons else ([] if names else [own])
    check_pythons(chosen)
    with terminated_as_interrupt(), TerminalProgress() as progress:
        workspace = open_workspace(progress=progress)
        with exclusive(workspace.home, "kiln run"):
            broken, failed = _run(workspace, progress, names, chosen, limit or 0, jobs or 0, prove)
    if names and broken:
        sys.exit(UpstreamError.exit_code)
    if names and failed:
        sys.exit(SOME_BUILDS_FAILED)


def _run(
    workspace: Any, progress: Any, names: Sequence[str], pythons: Sequence[str], limit: int, jobs: int, prove: bool
) -> tuple[int, int]:
    from kiln_pipeline.cli import report
    from kiln_pipeline.core.distributions import Release
    from kiln_pipeline.definitions import assemble
    from kiln_pipeline.defs.instance import prepare
    from kiln_pipeline.defs.run import Pipeline, wanted
    from kiln_pipeline.stages import detect

    asked = wanted(names, workspace.recipes, pythons=pythons)
    prepare(Path.cwd(), workspace.home, os.environ)
    progress.step("starting Dagster, in this process")
    pipeline = Pipeline(workspace, assemble(workspace))
    pipeline.take_in_what_waits()
    pipeline.refresh(asked.projects)
    broken = report.broken_projects(progress, detect.load_projects(workspace.state), asked.projects)
    platform = workspace.platform()
    rows = [
        row
        for row in detect.load_missing(workspace.state).to_pylist()
        if row["platform"] == platform and asked.wants(Release(project=row["project"], version=row["version"]))
    ]
    report.missing_table(progress.console, rows, title=f"{platform}: wanted wheels")
    before = len(workspace.attempts())
    todo = pipeline.todo(asked, limit=limit)
    report.refusals(progress.console, todo)
    try:
        for item in todo:
            if item.buildable:
                pipeline.build(item, jobs=jobs)
    finally:
        attempts = pipeline.publish()
    tried = {(attempt.release, attempt.identifier) for attempt in attempts[before:]}
    broken += sum((item.release, wheel.identifier) not in tried for item in todo for wheel in item.buildable)
    return broken, report.outcome(progress, workspace, asked, attempts, new=attempts[before:], prove=prove)


@click.command()
@click.option("--port", type=PORTS, default=UI_PORT, show_default=True, help="Dagster's web interface.")
@click.option("--site-port", type=PORTS, default=PORT, show_default=True, help="The published site.")
@click.option("--automation", is_flag=True, help="Turn the schedules and the sensors on from the start.")
@click.option("--dry-run", is_flag=True, help="Schedules and sensors only say, tick by tick, which runs they would ask for.")
def up(port: int, site_port: int, automation: bool, dry_run: bool) -> None:
    """Start Dagster's web interface and daemon, and the site, until Ctrl-C."""
    from kiln_pipeline.adapters.dagster_dev import serve_until_stopped
    from kiln_pipeline.defs.instance import prepare

    workspace = open_workspace()
    workspace.recipes  # noqa: B018 - a broken recipe is reported here, not in a web server's log
    prepare(Path.cwd(), workspace.home, os.environ)
    environment = {
        **os.environ,
        "KILN_SITE_URL": os.environ.get("KILN_SITE_URL", f"http://127.0.0.1:{site_port}/"),
        "KILN_AUTOMATION": "1" if automation else os.environ.get("KILN_AUTOMATION", "0"),
        "KILN_DRY_RUN": "1" if dry_run else os.environ.get("KILN_DRY_RUN", "0"),
    }
    with terminated_as_interrupt():
        sys.exit(serve_until_stopped(Path.cwd(), workspace.served_site, port, site_port, environment, click.echo))


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=PORTS, default=PORT, show_default=True)
@click.option(
    "--site",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder to serve (default: the workspace's site).",
)
def serve(host: str, port: int, site: Path | None) -> None:
    """Serve the site over HTTP, as installers expect it, until Ctrl-C. For development."""
    from kiln_pipeline.adapters.site_server import serve as serve_site

    served = site or open_workspace().served_site
    click.echo(f"serving {served} on http://{host}:{port}/ — pip install --index-url http://{host}:{port}/simple/ …")
    serve_site(served, host=host, port=port)
