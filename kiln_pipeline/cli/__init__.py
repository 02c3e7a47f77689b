"""`kiln …`: the command line. Parses, calls stages, prints. Dagster is imported only by the subcommands that run it.

Exit codes: 0 done · 1 something failed that has no code of its own, or `lock-check` found what would compile · 2 wrong input ·
3 upstream · 4 no builder · 5 store · 6 verification refused · 10 done, but a named release failed to build (the attempt is
recorded) · 11 `rebuild` made another wheel · 12 `rebuild` found the wheel not rebuildable · 130 interrupted.
"""

import click

from kiln_pipeline.cli.auditing import audit, host
from kiln_pipeline.cli.commands import Commands
from kiln_pipeline.cli.gaps import explain, failures, lock_check, missing
from kiln_pipeline.cli.indexing import index
from kiln_pipeline.cli.mirroring import mirror
from kiln_pipeline.cli.recipe_checking import recipes
from kiln_pipeline.cli.running import run, serve, up
from kiln_pipeline.cli.site_state import status
from kiln_pipeline.cli.wheels import build, rebuild, verify


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="kiln-pipeline", prog_name="kiln")
def main() -> None:
    """Find the wheels that the package index lacks, build them, publish them, and prove where they came from.

    Start in a folder with recipes/, workspace.yaml and dagster.yaml. Everything kiln makes is under .kiln (KILN_HOME).
    """


# in the order of a maintainer's day
for command in (
    run,
    up,
    status,
    missing,
    explain,
    failures,
    lock_check,
    recipes,
    serve,
    verify,
    rebuild,
    build,
    audit,
    index,
    mirror,
    host,
):
    main.add_command(command)
