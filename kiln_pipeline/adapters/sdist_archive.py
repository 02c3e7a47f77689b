"""Unpacking an sdist that nobody vouches for: no path outside the folder, bounds on members and bytes, and the right release.

Source distribution format: one folder ``{name}-{version}`` in a gzipped tar (old ones: zip, bz2), with PKG-INFO in it.
"""

import sys
import zipfile
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

if sys.version_info >= (3, 11, 4):
    import tarfile
else:  # Debian 12's 3.11.2 has no extraction filters (PEP 706)
    from backports import tarfile

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from kiln_pipeline.core.build_plan import Failure
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.failures import FailureClass
from kiln_pipeline.core.sdist_claims import SdistClaims, claims_of

MAX_MEMBERS = 200_000
MAX_UNPACKED_SIZE = 8 * 1024**3
"""Bytes of all members together."""


class BadSdist(Exception):
    """The archive is not a source distribution of the release; the text says why, in one line."""


def bad_sdist(error: BadSdist) -> Failure:
    """Return how a build of that sdist has failed."""
    return Failure(failure_class=FailureClass.BAD_SDIST, proof=str(error), hint="see what upstream published for this release")


def unpack_sdist(archive: Path, folder: Path, release: Release) -> Path:
    """Unpack into the empty `folder` and return the source folder. Raises `BadSdist`; part of it may then be unpacked."""
    try:
        if archive.name.endswith(".zip"):
            _unpack_zip(archive, folder)
        else:
            _unpack_tar(archive, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise BadSdist(f"{archive.name} cannot be unpacked: {error}") from error
    roots = sorted(path for path in folder.iterdir() if path.name != "pax_global_header")
    if len(roots) != 1 or not roots[0].is_dir():
        raise BadSdist(f"{archive.name} has {len(roots)} entries at its top, not one folder")
    _check_release(roots[0], archive.name, release)
    return roots[0]


def claims_in(source: Path) -> SdistClaims:
    """Return what an unpacked sdist says that its wheel must say too."""
    info = source / "PKG-INFO"
    configuration = (source / name for name in ("setup.cfg", "setup.py", "pyproject.toml"))
    return claims_of(
        info.read_bytes() if info.is_file() else b"",
        (path.name for path in source.iterdir() if path.is_file()),
        (path.read_text(encoding="utf-8", errors="replace") for path in configuration if path.is_file()),
    )


def _unpack_tar(archive: Path, folder: Path) -> None:
    members, size = 0, 0
    with tarfile.open(archive) as tar:
        for member in tar:
            members, size = members + 1, size + member.size
            _check_bounds(archive.name, members, size)
            tar.extract(member, folder, filter="data", set_attrs=True)


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as package:
        infos = package.infolist()
        _check_bounds(archive.name, len(infos), sum(info.file_size for info in infos))
        for info in infos:
            path = PurePosixPath(info.filename.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
                raise BadSdist(f"{archive.name} has the unsafe path {info.filename!r}")
            target = Path(package.extract(info, folder))
            mode = info.external_attr >> 16
            if not info.is_dir():
                target.chmod(0o755 if mode & 0o100 else 0o644)


def _check_bounds(name: str, members: int, size: int) -> None:
    if members > MAX_MEMBERS:
        raise BadSdist(f"{name} has more than {MAX_MEMBERS} members")
    if size > MAX_UNPACKED_SIZE:
        raise BadSdist(f"{name} unpacks to more than {MAX_UNPACKED_SIZE} bytes")


def _check_release(source: Path, name: str, release: Release) -> None:
    """Check PKG-INFO; an sdist from before it was mandatory has none, and is then judged by its wheel alone."""
    info = source / "PKG-INFO"
    if not info.is_file():
        if not any((source / file).is_file() for file in ("setup.py", "pyproject.toml", "setup.cfg")):
            raise BadSdist(f"{name} has neither PKG-INFO nor setup.py nor pyproject.toml")
        return
    headers = BytesParser().parsebytes(info.read_bytes(), headersonly=True)
    project, version = headers.get("Name", ""), headers.get("Version", "")
    try:
        same = canonicalize_name(project) == release.project and Version(version) == Version(release.version)
    except InvalidVersion:
        same = False
    if not same:
        raise BadSdist(f"PKG-INFO of {name} is of {project} {version}, not of {release}")
