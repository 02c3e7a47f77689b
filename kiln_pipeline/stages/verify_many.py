"""Verify every wheel of ours that a lock file pins, or that an environment has installed. Goes on after a doubt; writes nothing.

Which wheels are ours is what the site's signed pages say. What is not ours is not judged here: its index and its hashes are.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.audit_log.tiles import Fetch
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.installed_wheel import Installed, compare_installed
from kiln_pipeline.core.locked_files import LockedFile
from kiln_pipeline.core.strict_json import Table, parse
from kiln_pipeline.errors import ObjectNotFound, VerificationError
from kiln_pipeline.stages.verify import PageFile, Story, project_files, verify_wheel

_WHEEL = "wheels/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What became of one wheel."""

    subject: str
    """Its filename, or what could not be looked at."""
    story: Story = ()
    doubt: str = ""
    """Why it is refused; empty when it is not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """Where wheels of ours come from, and how their sdists are fetched (None: they are not)."""

    fetch: Fetch
    log_key: str
    """Verifier key (``name+hash+key``)."""
    base: str = ""
    """The URL under which locks name its wheels, ending in a slash; empty when they cannot."""
    sdist_fetch: Callable[[str], bytes] | None = None


def verify_locked(releases: Iterable[Release], files: Sequence[LockedFile], site: Site) -> tuple[Verdict, ...]:
    """Verify every wheel of ours among the `files` of a lock that pins `releases`, sorted by filename.

    Ours is a wheel that the release's signed page lists as such and whose sha256 the lock has; and whatever the lock says comes
    from the site. A wheel of ours under another sha256 is refused.
    """
    hashes = {file.sha256 for file in files}
    verdicts: dict[str, Verdict] = {}
    tracked = _tracked(site)
    for project in sorted({release.project for release in releases} & tracked):
        versions = {release.version for release in releases if release.project == project}
        try:
            listed = [file for file in _files(project, site) if file.ours and _parts(file.filename)[1] in versions]
        except VerificationError as error:
            verdicts[f"simple/{project}/"] = Verdict(subject=f"simple/{project}/", doubt=str(error))
            continue
        named = {file.filename for file in files}
        for file in listed:
            if file.filename in named or file.sha256 in hashes:
                verdicts[file.filename] = _verdict(
                    file.filename, site, lambda data, name=file.filename: _as_locked(name, data, files)
                )
    for file in files:
        theirs = bool(site.base) and file.url.startswith(site.base + _WHEEL)
        if file.filename not in verdicts and (theirs or _is_unlisted(file.filename, tracked, site)):
            verdicts[file.filename] = _verdict(
                file.filename, site, lambda data, name=file.filename: _as_locked(name, data, files)
            )
    return tuple(verdicts[subject] for subject in sorted(verdicts))


def verify_installed(distributions: Iterable[Installed], site: Site) -> tuple[Verdict, ...]:
    """Verify every installed distribution of ours: the wheel that was published, and that the installed files are its files.

    A distribution is ours when the page lists a wheel of ours of that version, with its tags and its build tag. One that has a
    build tag and is no file of the page at all is refused; others are not ours.
    """
    tracked = _tracked(site)
    return tuple(verdict for each in distributions if each.project in tracked for verdict in _installed_verdict(each, site))


def _installed_verdict(installed: Installed, site: Site) -> Iterator[Verdict]:
    release = f"{installed.project}=={installed.version}"
    try:
        files = [file for file in _files(installed.project, site) if _fits(file, installed)]
    except VerificationError as error:
        yield Verdict(subject=release, doubt=str(error))
        return
    if not files and installed.build:
        yield Verdict(subject=release, doubt=f"build {installed.build} is installed, and the project's page lists no such wheel")
    if not files or not files[0].ours:
        return

    def compare(data: bytes) -> tuple[str, str]:
        compared = compare_installed(files[0].filename, data, installed)
        return "installed", f"{compared.same} files as they are in the wheel; {compared.added} made by the installer, not covered"

    yield _verdict(files[0].filename, site, compare)


def _verdict(filename: str, site: Site, further: Callable[[bytes], tuple[str, str]]) -> Verdict:
    """Verify a wheel of the site, and then what it was found in; a doubt is a verdict."""
    try:
        data = site.fetch(site_layout.wheel(filename))
        found = further(data)
        verified = verify_wheel(data, filename, fetch=site.fetch, log_key=site.log_key, sdist_fetch=site.sdist_fetch)
    except (VerificationError, ObjectNotFound) as error:
        return Verdict(subject=filename, doubt=str(error))
    return Verdict(subject=filename, story=(*verified.story, found))


def _as_locked(filename: str, data: bytes, files: Sequence[LockedFile]) -> tuple[str, str]:
    sha256 = hashlib.sha256(data).hexdigest()
    others = sorted({file.sha256 for file in files if file.filename == filename} - {sha256})
    if others or sha256 not in {file.sha256 for file in files}:
        pinned = ", ".join(others) or "others"
        hint = "the lock was written against other bytes: find out which, and do not install it"
        raise VerificationError(subject=filename, reason=f"its sha256 is {sha256}, and the lock pins {pinned}", hint=hint)
    return "lock", "pins it with this sha256"


def _tracked(site: Site) -> set[str]:
    try:
        root = Table(parse(site.fetch(site_layout.SIMPLE_ROOT_JSON), "simple/"), "simple/", fields=None)
    except ObjectNotFound as error:
        raise VerificationError(subject="simple/", reason="it is missing", hint="is this a site of kiln's?") from error
    return {Table(item, "simple/", fields=None, path="projects").text("name") for item in root.items("projects")}


def _files(project: str, site: Site) -> tuple[PageFile, ...]:
    return project_files(project, fetch=site.fetch, log_key=site.log_key)


def _is_unlisted(filename: str, tracked: set[str], site: Site) -> bool:
    """Return whether a wheel with a build tag, of a project that the index no longer lists, is still on the site."""
    project, _, build, _ = _parts(filename)
    if not build or project in tracked:
        return False
    try:
        site.fetch(site_layout.wheel_provenance(filename))
    except ObjectNotFound:
        return False
    return True


def _fits(file: PageFile, installed: Installed) -> bool:
    project, version, build, tags = _parts(file.filename)
    return (project, version, build, tags) == (installed.project, installed.version, installed.build, installed.tags)


def _parts(filename: str) -> tuple[str, str, str, frozenset[object]]:
    """Return project, version, build tag and tags of a wheel's filename; empty ones for any other file."""
    try:
        project, version, build, tags = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        return "", "", "", frozenset()
    return str(project), str(version), f"{build[0]}{build[1]}" if build else "", frozenset(tags)
