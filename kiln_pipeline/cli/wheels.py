"""`kiln build`, `verify`, `rebuild`: one wheel, made, traced back, made again. Loads no Dagster."""

import json
import os
import sys
from datetime import date
from pathlib import Path

import click

from kiln_pipeline.cli import completion
from kiln_pipeline.cli.commands import SOME_BUILDS_FAILED, open_workspace, terminated_as_interrupt
from kiln_pipeline.cli.dated_views import Day
from kiln_pipeline.errors import VerificationError


@click.command()
@click.argument("subject", metavar="WHEEL|URL|LOCKFILE|VENV")
@click.option("--site", metavar="DIR_OR_URL", help="The site that published it (default: the one the wheel is in).")
@click.option(
    "--log-key", metavar="VKEY", help="The audit log's verifier key, or a file that holds it (default: pinned on first use)."
)
@click.option("--sdist/--no-sdist", default=True, help="Also fetch the sdist and compare its hash (default: yes).")
@click.option("--offline", is_flag=True, help="Ask nobody: use the .provenance.json that lies beside the wheel.")
@click.option("--bundle", metavar="FILE", help="Offline, with this .provenance.json.")
@click.option("--as-of", "day", type=Day(), help="Against the site's pages in the dated view of that day, not those of now.")
@click.option("--json", "as_json", is_flag=True, help="The story as JSON, for programs.")
def verify(
    subject: str,
    site: str | None,
    log_key: str | None,
    sdist: bool,
    offline: bool,
    bundle: str | None,
    day: date | None,
    as_json: bool,
) -> None:
    """Follow a wheel back to its sdist, recipe, host and log entry. Exits with 6 at the first doubt.

    Of a lock file (requirements.txt with hashes, uv.lock, poetry.lock, pdm.lock, pylock.toml) or a virtual environment, every
    wheel that comes from --site is verified; an environment's installed files too, one by one.
    """
    from kiln_pipeline.cli import verifying

    single = verifying.is_wheel(subject)
    if offline or bundle:
        verdicts = verifying.verify_alone(subject, bundle=bundle, site=site, log_key=log_key, environment=os.environ)
    else:
        verdicts = verifying.verify(subject, site=site, log_key=log_key, check_sdist=sdist, environment=os.environ, day=day)
    if as_json:
        click.echo(verifying.as_json(verdicts, many=not single))
    else:
        verifying.show(verdicts, subject=subject, many=not single)
    if any(verdict.doubt for verdict in verdicts):
        sys.exit(VerificationError.exit_code)


@click.command()
@click.argument("subject", metavar="WHEEL|URL")
@click.option("--site", metavar="DIR_OR_URL", help="The site that published it (default: the one the wheel is in).")
@click.option(
    "--log-key", metavar="VKEY", help="The audit log's verifier key, or a file that holds it (default: pinned on first use)."
)
@click.option(
    "--keep", type=click.Path(path_type=Path, file_okay=False), help="Put the rebuilt wheel, its log and what differs there."
)
@click.option("--json", "as_json", is_flag=True, help="The verdict as one JSON object, for programs.")
def rebuild(subject: str, site: str | None, log_key: str | None, keep: Path | None, as_json: bool) -> None:
    """Build a published wheel again with what its provenance records, and compare. It runs the package's own build.

    The wheel is verified first, as by `kiln verify`. Then it is built in a fresh place: the same sdist, recipe, build
    requirements, tools and image, and no cache. The verdict on a wheel of this workspace's own site is signed and left in the
    inbox, to be recorded; on any other wheel it is told only.

    Exits with 0 when the wheel is identical, or equal once stabilised; with 11 when it is different, and with 12 when it is
    not rebuildable here, which is said with the reason.
    """
    from kiln_pipeline.adapters.terminal import TerminalProgress
    from kiln_pipeline.cli import rebuilding

    with terminated_as_interrupt(), TerminalProgress() as progress:
        workspace = open_workspace(progress=progress)
        rebuilt, record = rebuilding.rebuild(workspace, subject, site=site, log_key=log_key, environment=os.environ)
    if keep:
        rebuilding.keep(rebuilt, keep)
    if as_json:
        click.echo(rebuilding.as_json(rebuilt, record))
    else:
        rebuilding.show(rebuilt, record)
    sys.exit(rebuilding.exit_code(rebuilt.rebuild.verdict))


@click.command()
@click.argument("release", metavar="PROJECT==VERSION")
@click.option("--python", required=True, metavar="VERSION", help="3.11, 3.13t (free-threaded), or a tag such as cp311.")
@click.option("--url", default="", metavar="URL", help="Where the sdist is, ending in #sha256=…; without it, upstream's own.")
@click.option("--env", "variables", multiple=True, metavar="KEY=VALUE", help="For the build; quoted as in a shell. Repeatable.")
@click.option(
    "--platform",
    default="",
    metavar="PLATFORM",
    shell_complete=completion.platforms,
    help="Such as manylinux_x86_64 (default: this host's).",
)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("dist"), show_default=True, help="The folder."
)
@click.option("--json", "as_json", is_flag=True, help="The attempt as one JSON object, for programs.")
def build(release: str, python: str, url: str, variables: tuple[str, ...], platform: str, output: Path, as_json: bool) -> None:
    """Build one wheel as asked, missing or not, and leave it in a folder with its signed bundle. Publishes nothing.

    A recipe of the project is used where there is one. The same release, Python, recipe and variables give the same bytes
    wherever they are built. Exits with 10 when the build fails; its bundle, with the log, is there all the same.
    """
    from kiln_pipeline.adapters.terminal import TerminalProgress
    from kiln_pipeline.cli import building

    asked = building.Asked(release=release, python=python, url=url, variables=variables, platform=platform)
    with terminated_as_interrupt(), TerminalProgress() as progress:
        attempt = building.build(
            open_workspace(progress=progress), asked, output.absolute(), run_id=os.environ.get("GITHUB_RUN_ID", "")
        )
    answer = building.as_dict(attempt, output)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    elif attempt.wheel:
        click.echo(f"{answer['wheel']}  sha256={attempt.wheel_sha256}")
    else:
        click.echo(f"{attempt.failure}: {attempt.proof} (log: {answer['bundle']}/build.log.gz)")
    if not attempt.wheel:
        sys.exit(SOME_BUILDS_FAILED)
