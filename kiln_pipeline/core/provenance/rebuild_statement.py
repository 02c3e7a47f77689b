"""The in-toto statement about a rebuild: a predicate of ours, by the host that rebuilt, read back strictly. No signing here.

Its subject is the published wheel. The predicate has these fields, all of them always:

    release, identifier   what the wheel is for
    original              the log's name (`log`), and of the attempt that made it position (`index`) and `statement`
    rebuilder             `host` and `builder`
    metadata              `invocationId`, `startedOn`, `finishedOn`
    materials             what went in, as in a build's statement; empty when nothing was built
    verdict               ``identical``, ``equal``, ``different`` or ``not-rebuildable`` (`core.rebuilds`)
    rebuilt               name and digest of what was made; null when nothing was
    obstacle              `class` and `reason` of what is not rebuildable; else null
    difference            sha256 of the gzipped text on what differs; empty when nothing does
    log                   sha256 of the gzipped build log

The statement names the log, so that it counts in no other one.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from kiln_pipeline.core.build_plan import Material
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.platforms import BuildIdentifier
from kiln_pipeline.core.provenance.statement import DEPENDENCY_FIELDS, STATEMENT_TYPE, dependency, read_material
from kiln_pipeline.core.rebuilds import Obstacle, Rebuild, RebuildVerdict
from kiln_pipeline.core.strict_json import Table, canonical, format_time, parse_canonical
from kiln_pipeline.errors import RecipeError, VerificationError

PREDICATE_TYPE = "https://python.build/attestations/rebuild/v1"
_FIELDS = {
    "release", "identifier", "original", "rebuilder", "metadata", "materials",
    "verdict", "rebuilt", "obstacle", "difference", "log",
}  # fmt: skip
_FILENAME = re.compile(r"[A-Za-z0-9_.+!-]{1,250}\.whl", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class RebuildStatement:
    """A rebuild's statement, parsed."""

    rebuild: Rebuild
    """`index` is -1."""
    origin: str
    """Name of the log that has the wheel."""
    original_statement: str
    """sha256 of the statement of the attempt that made the wheel."""
    rebuilt: str
    """What the wheel was called this time; empty when nothing was made."""
    materials: tuple[Material, ...]
    run_id: str


def rebuild_statement(
    rebuild: Rebuild,
    *,
    origin: str,
    original_statement: str,
    rebuilt: str,
    materials: Sequence[Material],
    run_id: str,
) -> bytes:
    """Return the statement as canonical JSON. Raises `VerificationError` for a rebuild that contradicts itself."""
    payload = canonical({
        "_type": STATEMENT_TYPE,
        "subject": [{"digest": {"sha256": rebuild.wheel_sha256}, "name": rebuild.wheel}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "release": str(rebuild.release),
            "identifier": str(rebuild.identifier),
            "original": {"log": origin, "index": rebuild.original, "statement": original_statement},
            "rebuilder": {"host": rebuild.host, "builder": rebuild.builder},
            "metadata": {
                "invocationId": run_id,
                "startedOn": format_time(rebuild.started),
                "finishedOn": format_time(rebuild.finished),
            },
            "materials": [dependency(material) for material in materials],
            "verdict": rebuild.verdict,
            "rebuilt": {"digest": {"sha256": rebuild.rebuilt_sha256}, "name": rebuilt} if rebuilt else None,
            "obstacle": {"class": rebuild.obstacle, "reason": rebuild.reason} if rebuild.obstacle else None,
            "difference": rebuild.difference_sha256,
            "log": rebuild.log_sha256,
        },
    })  # fmt: skip
    parse_rebuild_statement(payload)
    return payload


def is_rebuild_statement(payload: bytes) -> bool:
    """Return whether a statement, of which nothing is verified yet, says that it is about a rebuild."""
    top = Table(parse_canonical(payload, "statement"), "statement", fields=None)
    return top.raw("predicateType") == PREDICATE_TYPE


def parse_rebuild_statement(payload: bytes) -> RebuildStatement:
    """Parse a statement strictly: no field more or less, and verdict, wheel and difference in agreement.

    Raises `VerificationError` at the first doubt. Whether it is true of any file is not looked at here.
    """
    subject = "rebuild statement"
    top = Table(parse_canonical(payload, subject), subject, fields={"_type", "subject", "predicateType", "predicate"})
    top.exactly("_type", STATEMENT_TYPE)
    top.exactly("predicateType", PREDICATE_TYPE)
    wheel, wheel_sha256 = _descriptor(_only(top))
    predicate = top.table("predicate", fields=_FIELDS)
    release, identifier = _target(predicate)
    original = predicate.table("original", fields={"log", "index", "statement"})
    rebuilder = predicate.table("rebuilder", fields={"host", "builder"})
    metadata = predicate.table("metadata", fields={"invocationId", "startedOn", "finishedOn"})
    if metadata.time("finishedOn") < metadata.time("startedOn"):
        raise metadata.error("finishedOn", "is before startedOn: the host's clock ran backwards")
    name, sha256 = (
        ("", "") if predicate.raw("rebuilt") is None else _descriptor(predicate.table("rebuilt", fields={"digest", "name"}))
    )
    obstacle, reason = ("", "") if predicate.raw("obstacle") is None else _obstacle(predicate)
    rebuild = Rebuild(
        release=release,
        identifier=identifier,
        wheel=wheel,
        wheel_sha256=wheel_sha256,
        original=original.whole("index"),
        verdict=_verdict(predicate),
        started=metadata.time("startedOn"),
        finished=metadata.time("finishedOn"),
        host=rebuilder.text("host"),
        builder=rebuilder.text("builder"),
        rebuilt_sha256=sha256,
        obstacle=obstacle,
        reason=reason,
        difference_sha256=predicate.sha256("difference") if predicate.raw("difference") != "" else "",
        log_sha256=predicate.sha256("log"),
        statement_sha256=hashlib.sha256(payload).hexdigest(),
    )
    if not _agrees(rebuild):
        raise predicate.error("verdict", f"is {rebuild.verdict}, which does not go with what was made, what differs and why")
    return RebuildStatement(
        rebuild=rebuild,
        origin=original.text("log"),
        original_statement=original.sha256("statement"),
        rebuilt=name,
        materials=tuple(map(read_material, predicate.tables("materials", fields=DEPENDENCY_FIELDS))),
        run_id=metadata.text("invocationId"),
    )


def _agrees(rebuild: Rebuild) -> bool:
    """Return whether a verdict has all that it needs, and nothing that it cannot have."""
    same = rebuild.rebuilt_sha256 == rebuild.wheel_sha256
    made, differs, stopped = bool(rebuild.rebuilt_sha256), bool(rebuild.difference_sha256), bool(rebuild.obstacle)
    match rebuild.verdict:
        case RebuildVerdict.IDENTICAL:
            return same and not differs and not stopped
        case RebuildVerdict.EQUAL | RebuildVerdict.DIFFERENT:
            return made and not same and differs and not stopped
        case RebuildVerdict.NOT_REBUILDABLE:
            return stopped and not made and not differs
        case _:
            assert_never(rebuild.verdict)


def _only(top: Table) -> Table:
    rows = top.tables("subject", fields={"digest", "name"})
    if len(rows) != 1:
        raise top.error("subject", f"names {len(rows)} wheels, not one")
    return rows[0]


def _descriptor(row: Table) -> tuple[str, str]:
    """Return the name of a wheel, which is fit to be a key of the site, and its sha256."""
    name = row.text("name")
    if not _FILENAME.fullmatch(name):
        raise row.error("name", f"is {name[:300]!r}, and no wheel of ours can be called so")
    return name, row.table("digest", fields={"sha256"}).sha256("sha256")


def _target(predicate: Table) -> tuple[Release, BuildIdentifier]:
    try:
        release, identifier = Release.parse(predicate.text("release")), BuildIdentifier.parse(predicate.text("identifier"))
    except (RecipeError, ValueError) as error:
        raise VerificationError(subject=predicate.subject, reason=str(error)) from error
    predicate.exactly("release", str(release))
    predicate.exactly("identifier", str(identifier))
    return release, identifier


def _verdict(predicate: Table) -> RebuildVerdict:
    text = predicate.text("verdict")
    if text not in RebuildVerdict.__members__.values():
        raise predicate.error("verdict", f"is {text!r}, which is none")
    return RebuildVerdict(text)


def _obstacle(predicate: Table) -> tuple[str, str]:
    table = predicate.table("obstacle", fields={"class", "reason"})
    if table.text("class") not in Obstacle.__members__.values():
        raise table.error("class", f"is {table.text('class')!r}, which is none")
    return table.text("class"), table.text("reason")
