"""`kiln rebuild`: verify a wheel, build it again on this host with what its statement records, and tell the verdict.

A rebuild runs the package's own build, as installing its sdist would.
"""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import assert_never

import click

from kiln_pipeline.adapters import diffoscope
from kiln_pipeline.cli.verifying import is_wheel, open_site, read_wheel_file
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.core.rebuilds import Obstacle, RebuildVerdict, summary
from kiln_pipeline.core.strict_json import format_time
from kiln_pipeline.errors import Problem, RecipeError, StoreError
from kiln_pipeline.stages.rebuild import Original, Rebuilt, leave_in_inbox, rebuild_wheel
from kiln_pipeline.stages.verify import verify_wheel
from kiln_pipeline.workspace import Workspace

DIFFERENT, NOT_REBUILDABLE = 11, 12


def rebuild(
    workspace: Workspace, subject: str, *, site: str | None, log_key: str | None, environment: Mapping[str, str]
) -> tuple[Rebuilt, str]:
    """Verify the wheel that `subject` (a path or a URL) names as `kiln verify` does, and make it again.

    Return what became of it, and in a sentence whether it will be on record: the verdict on a wheel of the log of this
    workspace's own site goes to the inbox, like an attempt.
    """
    if not is_wheel(subject):
        raise RecipeError([Problem(file=subject, field="", message="give a wheel's path in a site, or its URL")])
    where, remember = open_site(subject, site=site, log_key=log_key, check_sdist=False, environment=environment)
    data, filename = read_wheel_file(subject)
    verification = verify_wheel(data, filename, fetch=where.fetch, log_key=where.log_key, sdist_fetch=None)
    remember()
    origin = VerifierKey.parse(where.log_key).name
    workspace.progress.step(f"verified {filename}: entry {verification.index} of {origin}")
    original = Original(wheel=data, statement=verification.statement, index=verification.index, origin=origin)
    rebuilt = rebuild_wheel(
        original,
        builders=workspace.builders,
        platform=workspace.platform(),
        host=workspace.host_name,
        upstream=workspace.upstream,
        clock=workspace.clock,
        work=workspace.home / "work",
        explain=diffoscope.explain,
        progress=workspace.progress,
    )
    if where.log_key.strip() != workspace.published_log_key:
        return rebuilt, f"not recorded: {origin} is not the log of this workspace's site"
    if rebuilt.rebuild.obstacle == Obstacle.OTHER_PLATFORM:
        return rebuilt, "not recorded: nothing was tried on this host"
    bundle = leave_in_inbox(original, rebuilt, inbox=workspace.inbox, signer=workspace.host_key)
    return rebuilt, f"signed by {workspace.host_key.name} and left in the inbox as {bundle[:16]}…: the next publish records it"


def keep(rebuilt: Rebuilt, folder: Path) -> None:
    """Write the rebuilt wheel, its log and what differs into `folder`. Raises `StoreError`."""
    files = {"rebuild.log": gzip.decompress(rebuilt.log)}
    if rebuilt.filename:
        files[rebuilt.filename] = rebuilt.wheel
    if rebuilt.difference:
        files["difference.txt"] = rebuilt.difference.encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise StoreError(key=str(folder), reason=error.strerror or str(error), hint="give another folder to --keep") from None


def show(rebuilt: Rebuilt, record: str) -> None:
    """Print the verdict, what differs, and whether it will be on record."""
    click.echo(f"{rebuilt.rebuild.wheel}: {summary(rebuilt.rebuild)}")
    click.echo(rebuilt.difference, nl=False)
    click.echo(record)


def as_json(rebuilt: Rebuilt, record: str) -> str:
    """Return the verdict for programs."""
    rebuild = rebuilt.rebuild
    return json.dumps(
        {
            "wheel": rebuild.wheel,
            "sha256": rebuild.wheel_sha256,
            "verdict": rebuild.verdict,
            "obstacle": rebuild.obstacle,
            "reason": rebuild.reason,
            "rebuilt": {"filename": rebuilt.filename, "sha256": rebuild.rebuilt_sha256} if rebuilt.filename else None,
            "difference": rebuilt.difference,
            "host": rebuild.host,
            "builder": rebuild.builder,
            "started": format_time(rebuild.started),
            "finished": format_time(rebuild.finished),
            "record": record,
        },
        indent=2,
    )


def exit_code(verdict: RebuildVerdict) -> int:
    """Return 0 for a wheel that was made again, 11 when it came out differently, 12 when it is not rebuildable."""
    match verdict:
        case RebuildVerdict.IDENTICAL | RebuildVerdict.EQUAL:
            return 0
        case RebuildVerdict.DIFFERENT:
            return DIFFERENT
        case RebuildVerdict.NOT_REBUILDABLE:
            return NOT_REBUILDABLE
        case _:
            assert_never(verdict)
