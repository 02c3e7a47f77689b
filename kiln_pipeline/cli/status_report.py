"""What `kiln status` prints: the status page's model (`core.site_status`) as of now. Decides nothing."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.retries import minute
from kiln_pipeline.core.site_status.model import Status
from kiln_pipeline.stages import detect
from kiln_pipeline.stages.site_status import site_status
from kiln_pipeline.workspace import Workspace

_RECENT, _GROUPS, _BROKEN = 15, 10, 10


def current_status(workspace: Workspace) -> Status:
    """Return the status as of now. Raises `StoreError`, and `VerificationError` when the log does not verify."""
    return site_status(
        recipes=workspace.recipes,
        missing=detect.load_missing(workspace.state),
        projects=detect.load_projects(workspace.state),
        attempts=workspace.attempts(),
        rebuilds=workspace.rebuilds(),
        site=workspace.site,
        state=workspace.state,
        clock=workspace.clock(),
        live=True,
    ).status


def show(console: Console, status: Status, site_url: str) -> None:
    """Print one block for each part of the page."""
    assert status.now is not None, "the live status is as of the clock"
    console.print(f"[bold]kiln[/bold] as of {minute(status.now)}: {status.wheels} wheels of ours", soft_wrap=True)
    _show_recent(console, status)
    _show_queue(console, status)
    _show_rates(console, status)
    _show_failures(console, status, site_url)
    _show_hosts(console, status)
    if status.log:
        console.print(f"\n[bold]audit log[/bold]  {status.log.size} entries, root {status.log.root}", soft_wrap=True)
    else:
        console.print("\n[bold]audit log[/bold]  none yet")
    if status.rebuilds:
        console.print("rebuilds   " + ", ".join(f"{count} {verdict}" for verdict, count in status.rebuilds.items()))
    _show_mirror(console, status)
    console.print(f"\n{site_url}{site_layout.STATUS_HTML.removesuffix('index.html')}", soft_wrap=True)


def _show_recent(console: Console, status: Status) -> None:
    console.print(f"\n[bold]last hour[/bold]  {len(status.recent) or 'no'} attempts")
    table = _table()
    for attempt in status.recent[:_RECENT]:
        outcome = "[green]succeeded[/green]" if attempt.wheel else f"[red]failed[/red] {escape(attempt.failure)}"
        table.add_row(f"{attempt.finished:%H:%M}", str(attempt.release), str(attempt.identifier), outcome, attempt.host)
    if status.recent:
        console.print(table)


def _show_queue(console: Console, status: Status) -> None:
    console.print("\n[bold]queue[/bold]" + ("" if status.queues else "  nothing that is wanted is missing"))
    table = _table("platform", "missing", "too new", "failed, waits", "next")
    for queue in status.queues:
        until = f" (first due {minute(queue.too_new_until)})" if queue.too_new_until else ""
        first = queue.next[0] if queue.next else None
        head = f"{first.project}=={first.version} {first.identifier}: {first.reason}" if first else ""
        table.add_row(queue.platform, str(queue.missing), f"{queue.too_new}{until}", str(queue.failed), escape(head))
    if status.queues:
        console.print(table)
    for project, since, reason in status.broken[:_BROKEN]:
        console.print(f"broken since {minute(since)}: {escape(f'{project}: {reason}')}", soft_wrap=True)


def _show_rates(console: Console, status: Status) -> None:
    console.print("\n[bold]success rate[/bold]")
    table = _table("", "succeeded", "failed", "rate")
    for rate in status.rates:
        share = "–" if rate.share is None else f"{100 * rate.share:.0f} %"
        table.add_row(rate.span, str(rate.succeeded), str(rate.failed), share)
    console.print(table)


def _show_failures(console: Console, status: Status, site_url: str) -> None:
    if not status.failures:
        return
    console.print("\n[bold]failures[/bold]")
    for group in status.failures[:_GROUPS]:
        log = site_url + site_layout.build_log(group.example.log_sha256)
        console.print(f"{escape(group.sentence)} [dim]({escape(group.retry)})[/dim]\n  {log}", soft_wrap=True)
    if len(status.failures) > _GROUPS:
        console.print(f"and {len(status.failures) - _GROUPS} more: kiln failures")


def _show_hosts(console: Console, status: Status) -> None:
    if status.hosts:
        console.print("\n[bold]hosts[/bold]")
        table = _table("name", "platforms", "succeeded", "failed", "last attempt")
        for host in status.hosts:
            numbers = str(host.succeeded), str(host.failed)
            table.add_row(host.name, ", ".join(host.platforms), *numbers, minute(host.last))
        console.print(table)


def _show_mirror(console: Console, status: Status) -> None:
    mirror = status.mirror
    if mirror is None or not mirror.projects:
        return
    there = f"{mirror.wanted - mirror.left} of {mirror.wanted} files of {mirror.projects} projects"
    console.print(f"\n[bold]mirror[/bold]  {there}, as of {minute(mirror.finished)}; {len(mirror.failing)} projects fail")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, show_header=bool(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
