"""`kiln …`: the command line. Parses, calls stages, prints. Dagster is imported only by the subcommands that run it.

Exit codes: 0 done · 1 something failed that has no code of its own, or `lock-check` found what would compile · 2 wrong input ·
3 upstream · 4 no builder · 5 store · 6 verification refused · 10 done, but a named release failed to build (the attempt is
recorded) · 11 `rebuild` made another wheel · 12 `rebuild` found the wheel not rebuildable · 130 interrupted.
"""

import contextlib
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import click

from kiln_pipeline.cli.auditing import audit, host
from kiln_pipeline.cli.dated_views import Day
from kiln_pipeline.cli.indexing import index
from kiln_pipeline.cli.mirroring import mirror
from kiln_pipeline.errors import KilnError, Problem, RecipeError, UpstreamError, VerificationError

SOME_BUILDS_FAILED = 10
INTERRUPTED = 130
PORT, UI_PORT = 8765, 3000
PORTS = click.IntRange(1, 65535)


class Commands(click.Group):
    """A group whose commands end in one clear error and its exit code, never in a traceback, when kiln raises on purpose."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KilnError as error:
            for line in str(error).splitlines():
                click.echo(f"kiln: {line}", err=True)
            ctx.exit(error.exit_code)
        except BaseException as error:
            # Dagster turns a signal into an exception of its own, which only some subcommands import
            if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "DagsterExecutionInterruptedError":
                click.echo("kiln: interrupted: what was recorded is kept, and the next run goes on from there", err=True)
                ctx.exit(INTERRUPTED)
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(self.commands)  # in the order of a maintainer's day, not of the alphabet


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="kiln-pipeline", prog_name="kiln")
def main() -> None:
    """Find the wheels that the package index lacks, build them, publish them, and prove where they came from.

    Start in a folder with recipes/, workspace.yaml and dagster.yaml. Everything kiln makes is under .kiln (KILN_HOME).
    """


def _workspace(**replacements: Any) -> Any:
    from kiln_pipeline.workspace import Workspace

    return Workspace.from_environment(Path.cwd(), os.environ, **replacements)


@main.command()
@click.argument("names", nargs=-1, metavar="[PROJECT[==VERSION]]…")
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
    from kiln_pipeline.adapters.directory import exclusive
    from kiln_pipeline.adapters.terminal import TerminalProgress

    own = f"cp{sys.version_info.major}{sys.version_info.minor}"
    chosen = [tag for tag in pythons if tag != "all"] if pythons else ([] if names else [own])
    _check_pythons(chosen)
    with _terminated_as_interrupt(), TerminalProgress() as progress:
        workspace = _workspace(progress=progress)
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


@main.command()
@click.option("--port", type=PORTS, default=UI_PORT, show_default=True, help="Dagster's web interface.")
@click.option("--site-port", type=PORTS, default=PORT, show_default=True, help="The published site.")
@click.option("--automation", is_flag=True, help="Turn the schedule and the sensors on from the start.")
def up(port: int, site_port: int, automation: bool) -> None:
    """Start Dagster's web interface and daemon, and the site, until Ctrl-C."""
    from kiln_pipeline.adapters.dagster_dev import serve_until_stopped
    from kiln_pipeline.defs.instance import prepare

    workspace = _workspace()
    workspace.recipes  # noqa: B018 - a broken recipe is reported here, not in a web server's log
    prepare(Path.cwd(), workspace.home, os.environ)
    environment = {
        **os.environ,
        "KILN_SITE_URL": os.environ.get("KILN_SITE_URL", f"http://127.0.0.1:{site_port}/"),
        "KILN_AUTOMATION": "1" if automation else os.environ.get("KILN_AUTOMATION", "0"),
    }
    with _terminated_as_interrupt():
        sys.exit(serve_until_stopped(Path.cwd(), workspace.served_site, port, site_port, environment, click.echo))


@main.command()
@click.argument("projects", nargs=-1)
@click.option("--platform", "platforms", multiple=True, help="Only this platform, such as manylinux_x86_64. Repeatable.")
@click.option("--python", "pythons", multiple=True, metavar="TAG", help="Only this Python, such as cp312. Repeatable.")
@click.option("--all", "everything", is_flag=True, help="Also what is not missing, with the reason.")
@click.option("--reason", "rules", multiple=True, metavar="RULE", help="Only rows of this rule, such as too-new. Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for programs.")
def missing(
    projects: tuple[str, ...],
    platforms: tuple[str, ...],
    pythons: tuple[str, ...],
    everything: bool,
    rules: tuple[str, ...],
    as_json: bool,
) -> None:
    """Ask upstream, and list the missing wheels of all recipes (or of PROJECTS), each with its reason."""
    from kiln_pipeline.adapters.terminal import TerminalProgress, console
    from kiln_pipeline.cli import report

    _check_pythons(pythons)
    with TerminalProgress() as progress:
        workspace = _workspace(progress=progress)
        rows, broken = report.missing_rows(workspace, projects, platforms, pythons, rules, everything=everything)
    if as_json:
        click.echo(json.dumps(rows, indent=2, default=str))
    else:
        report.missing_table(console(sys.stdout), rows, title="missing wheels")
    if broken:
        sys.exit(UpstreamError.exit_code)


@main.command()
@click.argument("release", metavar="PROJECT==VERSION")
@click.argument("identifier", metavar="IDENTIFIER")
@click.option("--json", "as_json", is_flag=True, help="The whole answer as one JSON object, for programs.")
def explain(release: str, identifier: str, as_json: bool) -> None:
    """Say why one release has, lacks or cannot have a wheel for IDENTIFIER, such as cp310-macosx_arm64.

    Any project upstream can be asked about, tracked or not: the verdict, the rule that gave it, and every upstream file with
    what it lacks.
    """
    from kiln_pipeline.adapters.terminal import console
    from kiln_pipeline.cli import explaining

    answer = explaining.explanation(_workspace(), release, identifier)
    if as_json:
        click.echo(json.dumps(answer.as_dict(), indent=2))
    else:
        explaining.show(console(sys.stdout), answer)


@main.command()
@click.argument("projects", nargs=-1, metavar="[PROJECT]…")
@click.option("--class", "classes", multiple=True, metavar="CLASS", help="Only this class, such as missing-header. Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for programs.")
def failures(projects: tuple[str, ...], classes: tuple[str, ...], as_json: bool) -> None:
    """Say what the missing wheels fail for: grouped by class and by what is missing, the commonest first.

    From the audit log, for what the last `kiln missing` found missing. Each group has its projects, when it is tried again, and
    one log to read.
    """
    from kiln_pipeline.adapters.terminal import console
    from kiln_pipeline.cli import failing

    workspace = _workspace()
    found = failing.groups(workspace, projects, classes)
    if as_json:
        click.echo(json.dumps(failing.as_dicts(found, workspace.site_url), indent=2))
    else:
        failing.show(console(sys.stdout), found, workspace.site_url)


@main.command("lock-check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--target", "targets", multiple=True, required=True, metavar="IDENTIFIER", help="Such as cp312-macosx_arm64. Repeatable."
)
@click.option("--macos", metavar="VERSION", help="The targets' macOS, such as 14.0 (default: the recipes' floor, 11.0 or 10.13).")
@click.option("--glibc", metavar="VERSION", help="The targets' glibc, such as 2.35 (default: the recipes' floor, 2.28).")
@click.option("--musl", metavar="VERSION", help="The targets' musl (default: the recipes' floor, 1.2).")
@click.option("--index-url", metavar="URL", help="Our simple index; without it, what this folder's audit log says is published.")
@click.option("--json", "as_json", is_flag=True, help="The whole report as one JSON object, for programs.")
def lock_check(file: Path, targets: tuple[str, ...], index_url: str | None, as_json: bool, **systems: str | None) -> None:
    """Say what a lock would compile on a target, and which of that kiln has or could build.

    FILE is a requirements.txt (pinned), uv.lock, poetry.lock, pdm.lock or pylock.toml. All extras and groups count.

    Exits with 0 when nothing would compile (our index counts as asked), with 1 when something would or a requirement is not
    pinned. Packages from git, URLs and paths are listed, and do not count.
    """
    from kiln_pipeline.adapters.terminal import TerminalProgress, console
    from kiln_pipeline.cli import lock_checking

    with TerminalProgress() as progress:
        report = lock_checking.check(_workspace(progress=progress), file, targets, index_url, systems)
    config = lock_checking.config_for(report, index_url or f"{_workspace().site_url}simple/")
    if as_json:
        click.echo(json.dumps(lock_checking.as_dict(report, config), indent=2))
    else:
        lock_checking.show(console(sys.stdout), report, config)
    sys.exit(0 if report.clean else 1)


@main.group()
def recipes() -> None:
    """Check recipes, or start a new one."""


@recipes.command()
@click.option("--json", "as_json", is_flag=True, help="The problems as one JSON array, for programs.")
def check(as_json: bool) -> None:
    """Parse every recipe and report every problem at once, with file and key."""
    from kiln_pipeline.adapters.recipe_folder import check_recipes

    folder = _workspace().recipes_folder
    problems = check_recipes(folder)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(problem) for problem in problems], indent=2))
        sys.exit(RecipeError.exit_code if problems else 0)
    if problems:
        raise RecipeError(problems)
    click.echo(f"{folder.name}: every recipe is well")


@recipes.command()
@click.argument("name", metavar="PROJECT[==VERSION]")
def new(name: str) -> None:
    """Write a starter recipe: for VERSION, else for the newest release that lacks wheels; and what the project's others lack."""
    from kiln_pipeline.adapters.recipe_folder import new_recipe
    from kiln_pipeline.core.distributions import Release, project_name

    workspace = _workspace()
    try:
        release = Release.parse(name) if "==" in name else Release(project=project_name(name), version="")
    except ValueError as error:
        raise RecipeError([Problem(file=name, field="", message=str(error))]) from None
    page = workspace.upstream.project_page(release.project).page
    path = new_recipe(workspace.recipes_folder, release.project, version=release.version, page=page, now=workspace.clock())
    click.echo(f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}: edit it, then `kiln recipes check`")


@main.command()
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

    served = site or _workspace().served_site
    click.echo(f"serving {served} on http://{host}:{port}/ — pip install --index-url http://{host}:{port}/simple/ …")
    serve_site(served, host=host, port=port)


@main.command()
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


@main.command()
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

    with _terminated_as_interrupt(), TerminalProgress() as progress:
        workspace = _workspace(progress=progress)
        rebuilt, record = rebuilding.rebuild(workspace, subject, site=site, log_key=log_key, environment=os.environ)
    if keep:
        rebuilding.keep(rebuilt, keep)
    if as_json:
        click.echo(rebuilding.as_json(rebuilt, record))
    else:
        rebuilding.show(rebuilt, record)
    sys.exit(rebuilding.exit_code(rebuilt.rebuild.verdict))


@main.command()
@click.argument("release", metavar="PROJECT==VERSION")
@click.option("--python", required=True, metavar="VERSION", help="3.11, 3.13t (free-threaded), or a tag such as cp311.")
@click.option("--url", default="", metavar="URL", help="Where the sdist is, ending in #sha256=…; without it, upstream's own.")
@click.option("--env", "variables", multiple=True, metavar="KEY=VALUE", help="For the build; quoted as in a shell. Repeatable.")
@click.option("--platform", default="", metavar="PLATFORM", help="Such as manylinux_x86_64 (default: this host's).")
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
    with _terminated_as_interrupt(), TerminalProgress() as progress:
        attempt = building.build(
            _workspace(progress=progress), asked, output.absolute(), run_id=os.environ.get("GITHUB_RUN_ID", "")
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


main.add_command(audit)
main.add_command(index)
main.add_command(mirror)
main.add_command(host)


def _check_pythons(tags: Sequence[str]) -> None:
    from kiln_pipeline.core.platforms import PythonTag, all_identifiers

    problems: list[Problem] = []
    known = {identifier.python for identifier in all_identifiers()}
    for tag in tags:
        try:
            if PythonTag.parse(tag) not in known:
                raise ValueError(f"no cibuildwheel that kiln knows builds for {tag!r}")
        except ValueError as error:
            problems.append(Problem(file="--python", field="", message=str(error)))
    if problems:
        raise RecipeError(problems)


@contextlib.contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end a command the way Ctrl-C does: with its clean-up."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
