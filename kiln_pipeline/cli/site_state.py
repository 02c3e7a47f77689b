"""`kiln status`: what the status page says, as of now, in a terminal. Asks nobody; reads the state and the log."""

import json
import sys

import click

from kiln_pipeline.cli.commands import open_workspace


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As one JSON object, for programs; as status/index.json on the site.")
def status(as_json: bool) -> None:
    """Say what is going on: the last hour, the queue, the hosts, the success rate, what fails, the log, the mirror.

    From the audit log and from what the last refresh found; `kiln missing` asks upstream anew.
    """
    from kiln_pipeline.adapters.terminal import console
    from kiln_pipeline.cli import status_report
    from kiln_pipeline.core.site_status.as_json import as_json as values_of

    workspace = open_workspace()
    found = status_report.current_status(workspace)
    if as_json:
        click.echo(json.dumps(values_of(found), indent=2))
    else:
        status_report.show(console(sys.stdout), found, workspace.site_url)
