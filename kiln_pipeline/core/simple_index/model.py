"""A project page of ours as a value: every file of upstream's page, and our wheels before them. No bytes, no HTML, no I/O.

Our wheels come first because an installer that finds two equal candidates takes the first. Upstream's files keep their own
order, hashes, yanks and URLs: the page is a superset, so that putting it in front of upstream hides nothing.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from packaging.version import Version

from kiln_pipeline.core.attempts import Attempt, Outcome
from kiln_pipeline.core.distributions import DistributionFile, FileKind
from kiln_pipeline.core.mirror.copies import PageMirror
from kiln_pipeline.core.mirror.settings import Rest
from kiln_pipeline.core.site_layout import wheel, wheel_provenance
from kiln_pipeline.errors import VerificationError

SUPERSEDED = "superseded by upstream"
DELETED = "deleted upstream"
DELETED_SDIST = "its sdist was deleted upstream"
QUARANTINED = "quarantined"
_SITE_ROOT = "../../"
"""From ``simple/<project>/`` to the site root: relative, so that the site works under any address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexFile:
    """One file of a page. `sha256` is lower-case hex, `size` is in bytes."""

    filename: str
    url: str
    """Absolute (http or https) for upstream's files, relative to the page for ours and for copies; percent-encoded."""
    sha256: str
    size: int
    """"This key is mandatory" (PEP 700)."""
    requires_python: str = ""
    upload_time: datetime | None = None
    """UTC. For a wheel of ours the end of the attempt that built it."""
    yanked: bool = False
    yanked_reason: str = ""
    core_metadata: str = ""
    """sha256 of the ``.metadata`` file, ``true`` when it exists without a stated hash, empty when there is none."""
    provenance: str = ""
    """URL of upstream's PEP 740 provenance, carried over. Ours is no PEP 740 provenance, and is in `attestation`."""
    attestation: str = ""
    """URL, relative to the page, of the signed provenance of a wheel of ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexPage:
    """One project page of simple API 1.4."""

    project: str
    files: tuple[IndexFile, ...]
    versions: tuple[str, ...]
    """"All of the version strings uploaded for this project" (PEP 700): upstream's in its order, then those only ours."""
    status: str = "active"
    """PEP 792."""
    status_reason: str = ""


def listed(attempts: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """Return the attempts whose wheel belongs in the index: they succeeded, and the audit log has them."""
    return tuple(attempt for attempt in attempts if attempt.outcome is Outcome.SUCCEEDED and attempt.index >= 0)


def overlay(
    project: str,
    *,
    upstream: Sequence[DistributionFile],
    status: str = "active",
    status_reason: str = "",
    versions: Sequence[str] = (),
    attempts: Iterable[Attempt] = (),
    superseded: Collection[str] = frozenset(),
    mirror: PageMirror | None = None,
) -> IndexPage:
    """Return the page of `project`: our wheels of `attempts` (newest version first), then the files of `upstream`.

    `superseded` holds the filenames of wheels of ours that upstream has caught up with. A quarantined project offers nothing
    (PEP 792: the index "MUST NOT offer any distributions of the project for download"), neither upstream's files nor ours.
    Of a `mirror` the copies are named where it has them, and what it has none of is as it says.

    Raises `VerificationError` when a filename stands for two different files, or when upstream gives an address that is no
    http or https URL: then there is no page at all rather than a doubtful one.
    """
    if status == QUARANTINED:
        return IndexPage(project=project, files=(), versions=tuple(versions), status=status, status_reason=status_reason)
    theirs = {file.filename: _upstream_file(file, mirror) for file in upstream}
    if len(theirs) != len(upstream):
        raise VerificationError(subject=project, reason="upstream lists a filename twice", hint="its page is kept as it was")
    by_version: dict[str, list[DistributionFile]] = {}
    for file in upstream:
        by_version.setdefault(file.version, []).append(file)
    ours: dict[str, IndexFile] = {}
    for attempt in _newest_first(listed(attempts)):
        file = _own_file(attempt, by_version.get(attempt.release.version, ()), superseded)
        known = theirs.get(file.filename) or ours.get(file.filename)
        if known is None:
            ours[file.filename] = file
        elif known.sha256 != file.sha256:
            hint = "a published filename never changes its bytes: rebuild ours under another build tag"
            raise VerificationError(subject=file.filename, reason="it stands for two files with different hashes", hint=hint)
    known_versions = dict.fromkeys([*versions, *by_version, *sorted({a.release.version for a in listed(attempts)}, key=Version)])
    shown = [file for file in theirs.values() if mirror is None or mirror.rest is Rest.LINK or file.sha256 in mirror.copies]
    return IndexPage(
        project=project,
        files=(*ours.values(), *shown),
        versions=tuple(known_versions),
        status=status,
        status_reason=status_reason,
    )


def _newest_first(attempts: tuple[Attempt, ...]) -> list[Attempt]:
    """By version descending, then filename, then position in the log: of two builds of the same bytes the first is listed."""
    ordered = sorted(attempts, key=lambda attempt: (attempt.wheel, attempt.index))
    return sorted(ordered, key=lambda attempt: Version(attempt.release.version), reverse=True)


def _own_file(attempt: Attempt, upstream: Sequence[DistributionFile], superseded: Collection[str]) -> IndexFile:
    yanked, reason = _withdrawn(attempt, upstream)
    if not yanked and attempt.wheel in superseded:
        yanked, reason = True, SUPERSEDED
    return IndexFile(
        filename=attempt.wheel,
        url=_SITE_ROOT + quote(wheel(attempt.wheel)),
        sha256=attempt.wheel_sha256,
        size=attempt.wheel_size,
        requires_python=attempt.requires_python,
        upload_time=attempt.finished,
        yanked=yanked,
        yanked_reason=reason,
        core_metadata=attempt.metadata_sha256,
        attestation=_SITE_ROOT + quote(wheel_provenance(attempt.wheel)),
    )


def _withdrawn(attempt: Attempt, upstream: Sequence[DistributionFile]) -> tuple[bool, str]:
    """Return whether upstream has withdrawn the release, or the sdist, that a wheel of ours was built from, and its reason.

    A wheel that was built without a recipe may come from an address outside upstream: there nothing can be missing.
    """
    if not upstream:
        return (True, DELETED) if attempt.recipe_sha256 else (False, "")
    if (
        attempt.recipe_sha256
        and all(file.kind is not FileKind.SDIST for file in upstream)
        and not all(f.yanked for f in upstream)
    ):
        return True, DELETED_SDIST
    source = next((file for file in upstream if file.sha256 == attempt.sdist_sha256), None)
    if source is not None and source.yanked:
        return True, source.yanked_reason
    if all(file.yanked for file in upstream):
        return True, next((file.yanked_reason for file in upstream if file.yanked_reason), "")
    return False, ""


def _upstream_file(file: DistributionFile, mirror: PageMirror | None) -> IndexFile:
    if not file.url.startswith(("https://", "http://")):
        reason = f"upstream's address {file.url!r} is no http or https URL"
        raise VerificationError(subject=file.filename, reason=reason, hint="its page is kept as it was")
    provenance = file.provenance if file.provenance.startswith(("https://", "http://")) else ""
    copy = None if mirror is None else mirror.copies.get(file.sha256)
    if copy is not None and copy.filename != file.filename:
        copy = None  # the same bytes under two names: only one of them was copied
    return IndexFile(
        filename=file.filename,
        url=file.url.partition("#")[0] if copy is None else _SITE_ROOT + quote(copy.key),
        sha256=file.sha256,
        size=file.size,
        requires_python=file.requires_python,
        upload_time=file.upload_time,
        yanked=file.yanked,
        yanked_reason=file.yanked_reason,
        core_metadata=file.core_metadata if copy is None else copy.metadata_sha256,
        provenance=provenance,
    )
