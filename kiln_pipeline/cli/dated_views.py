"""`kiln index snapshot|snapshots|remove-snapshots`: thin commands over dated views. Loads no Dagster."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import click

from kiln_pipeline.cli.commands import open_workspace


class Day(click.ParamType[date]):
    """A day, as in the address of its view."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            return value if isinstance(value, date) else datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC).date()
        except ValueError:
            self.fail(f"{value!r} is no date such as 2026-11-22", param, ctx)


@click.command()
@click.option("--date", "day", type=Day(), help="The day that the view is of (UTC); today when left out.")
@click.option(
    "--keep-days",
    type=click.IntRange(min=1),
    metavar="N",
    help="Then remove the views that are older, but for the first of each month.",
)
def snapshot(day: date | None, keep_days: int | None) -> None:
    """Keep the index as it is published now under simple@DATE/, for frozen builds.

    A view never changes: a day that has one keeps it. It costs its manifest and the pages that changed since the one before.
    """
    from kiln_pipeline.adapters.terminal import TerminalProgress
    from kiln_pipeline.stages.dated_views import take_and_retain

    with TerminalProgress() as progress:
        workspace = open_workspace(progress=progress)
        today = workspace.clock().astimezone(UTC).date()
        with workspace.writing("site"):
            report, removed = take_and_retain(
                day or today,
                today=today,
                keep_days=keep_days,
                site=workspace.site,
                state=workspace.state,
                signer=workspace.log_key,
                progress=progress,
            )
    address = f"{workspace.site_url}simple@{report.view.day}/"
    if report.taken:
        click.echo(f"{address}: {len(report.view.pages)} projects, {report.written} written ({report.written_bytes:,} bytes)")
    else:
        click.echo(f"{address}: was taken before, and stays as it is")
    if removed:
        click.echo(f"removed: {', '.join(map(str, removed))}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def snapshots(as_json: bool) -> None:
    """List the dated views, oldest first."""
    from kiln_pipeline.stages.dated_views import list_views

    workspace = open_workspace()
    views = list_views(workspace.site, workspace.state)
    if as_json:
        rows = [
            {"date": str(view.day), "url": f"{workspace.site_url}simple@{view.day}/", "projects": len(view.pages)}
            for view in views
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    before: dict[str, str] = {}
    for view in views:
        changed = sum(before.get(project) != digest for project, digest in view.pages.items())
        click.echo(f"{workspace.site_url}simple@{view.day}/  {len(view.pages)} projects, {changed} other than in the view before")
        before = dict(view.pages)
    if not views:
        click.echo("none: `kiln index snapshot` takes one")


@click.command(name="remove-snapshots")
@click.argument("days", metavar="DATE…", nargs=-1, required=True, type=Day())
def remove_snapshots(days: Sequence[date]) -> None:
    """Remove dated views. Builds that are frozen to one will not find it any more; wheels stay where they are."""
    from kiln_pipeline.adapters.terminal import TerminalProgress
    from kiln_pipeline.stages.dated_views import remove_views

    with TerminalProgress() as progress:
        workspace = open_workspace(progress=progress)
        with workspace.writing("site"):
            count = remove_views(
                set(days),
                site=workspace.site,
                state=workspace.state,
                log_key=workspace.log_key.public_key,
                progress=progress,
            )
    click.echo(f"{len(set(days))} views removed, {count} objects")
