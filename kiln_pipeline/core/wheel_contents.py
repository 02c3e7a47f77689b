"""What a wheel really contains, read from its bytes and checked against the binary distribution format.

Takes bytes and nothing else: no file, no installation. Legal order: `read_wheel`, then `core.wheel_checks.check_wheel`. A wheel
that passes both can be published; everything else raises `VerificationError` with every problem found, not the first.
"""

import base64
import csv
import hashlib
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser

from packaging.tags import Tag, parse_tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from kiln_pipeline.errors import VerificationError

MAX_WHEEL_SIZE = 2 * 1024**3
"""Bytes of the compressed wheel."""
MAX_UNPACKED_SIZE = 8 * 1024**3
"""Bytes of all members together: the bound against zip bombs, checked before anything is unpacked."""
MAX_MEMBERS = 200_000

_EXTENSION = re.compile(r"^(?P<name>[^.]+)(?:\.(?:cpython|cp|pypy|graalpy)[\w.-]*|\.abi3t?)?\.(?:so|pyd)$")
_BUNDLED = re.compile(r"(?:^|/)[^/]*(?:\.libs|\.dylibs|\.dist-info|\.data/(?:data|headers|scripts))/")
_DATA = re.compile(r"^[^/]+\.data/(?:purelib|platlib)/")
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")
_CHUNK = 1 << 20
UNREADABLE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, csv.Error, OSError,
    NotImplementedError, RuntimeError, EOFError, ValueError,
)  # fmt: skip
"""What `zipfile`, its decompressors and `csv` raise over bytes that are no wheel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WheelFacts:
    """Everything that kiln says about a wheel, from the wheel itself."""

    filename: str
    sha256: str
    size: int
    """Bytes."""
    project: str
    """Normalised."""
    version: str
    """Normalised PEP 440."""
    build: str
    """The build tag as written, for example ``1``; empty when there is none."""
    tags: tuple[str, ...]
    """Expanded and sorted: ``cp311-cp311-manylinux_2_17_x86_64``."""
    metadata: bytes
    """The core metadata file, byte for byte (what PEP 658 serves)."""
    metadata_sha256: str
    requires_python: str
    license_expression: str
    license_files: tuple[str, ...]
    extensions: tuple[str, ...]
    """Import names of the extension modules found, sorted: ``yaml._yaml``."""
    is_purelib: bool
    """``Root-Is-Purelib`` of the WHEEL file."""


def read_wheel(filename: str, data: bytes) -> WheelFacts:
    """Read and verify one wheel.

    Binary distribution format: "every file except RECORD and its signatures has a hash in RECORD". Raises
    `VerificationError` naming every problem: no zip, unsafe or duplicate paths, RECORD missing or not matching, METADATA or
    WHEEL missing or contradicting the filename, or more bytes than `MAX_UNPACKED_SIZE`.
    """
    try:
        project, version, build, tags = parse_wheel_filename(filename)
    except InvalidWheelFilename as error:
        raise VerificationError(subject=filename, reason=str(error)) from error
    if len(data) > MAX_WHEEL_SIZE:
        raise VerificationError(subject=filename, reason=f"it has {len(data)} bytes, more than {MAX_WHEEL_SIZE}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            refuse(filename, layout_problems(archive))
            info = _dist_info(filename, archive, str(project), version)
            refuse(filename, _record_problems(archive, f"{info}/RECORD"))
            metadata = archive.read(f"{info}/METADATA")
            wheel = headers(archive.read(f"{info}/WHEEL"))
            names = archive.namelist()
    except UNREADABLE as error:
        raise VerificationError(subject=filename, reason=f"it is no valid zip file: {error}") from error
    core = headers(metadata)
    build_text = f"{build[0]}{build[1]}" if build else ""
    problems = [
        *_metadata_problems(core, str(project), version),
        *_wheel_file_problems(wheel, tags, build_text),
    ]
    refuse(filename, problems)
    return WheelFacts(
        filename=filename,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        project=str(project),
        version=str(version),
        build=build_text,
        tags=tuple(sorted(str(tag) for tag in tags)),
        metadata=metadata,
        metadata_sha256=hashlib.sha256(metadata).hexdigest(),
        requires_python=core.get("Requires-Python", ""),
        license_expression=core.get("License-Expression", ""),
        license_files=tuple(sorted(core.get_all("License-File", []))),
        extensions=extension_names(names),
        is_purelib=wheel.get("Root-Is-Purelib", "").strip().lower() == "true",
    )


def extension_names(members: list[str]) -> tuple[str, ...]:
    """Return the import names of the extension modules among a wheel's member paths, sorted and unique.

    Libraries that auditwheel or delocate put aside (``*.libs/``, ``.dylibs/``) and data files are none.
    """
    names: set[str] = set()
    for member in members:
        folder, _, base = _DATA.sub("", member).rpartition("/")
        match = _EXTENSION.match(base)
        if match is not None and not _BUNDLED.search(_DATA.sub("", member)):
            names.add(".".join([*(part for part in folder.split("/") if part), match["name"]]))
    return tuple(sorted(names))


def layout_problems(archive: zipfile.ZipFile) -> Iterator[str]:
    """Yield what makes a zip unfit for a wheel, from its directory alone: nothing is unpacked."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        yield f"it has {len(infos)} members, more than {MAX_MEMBERS}"
    unpacked = sum(info.file_size for info in infos)
    if unpacked > MAX_UNPACKED_SIZE:
        yield f"it unpacks to {unpacked} bytes, more than {MAX_UNPACKED_SIZE}"
    seen: set[str] = set()
    for info in infos:
        name = info.filename
        if name in seen:
            yield f"{name} is there twice"
        seen.add(name)
        if name.startswith("/") or "\\" in name or re.match(r"[A-Za-z]:", name) or ".." in name.split("/"):
            yield f"{name} is an unsafe path"
        if info.external_attr >> 28 == 0o12:
            yield f"{name} is a symbolic link"


def _dist_info(filename: str, archive: zipfile.ZipFile, project: str, version: Version) -> str:
    """Return the name of the one ``.dist-info`` folder, after checking that it is this project's and has its three files."""
    names = set(archive.namelist())
    folders = sorted({name.split("/", 1)[0] for name in names if name.split("/", 1)[0].endswith(".dist-info") and "/" in name})
    if len(folders) != 1:
        raise VerificationError(subject=filename, reason=f"it has {len(folders)} .dist-info folders, not one")
    name, _, folder_version = folders[0].removesuffix(".dist-info").rpartition("-")
    problems: list[str] = []
    try:
        fits = canonicalize_name(name) == project and Version(folder_version) == version
    except InvalidVersion:
        fits = False
    if not fits:
        problems.append(f"{folders[0]} is not of {project} {version}")
    problems += [
        f"{folders[0]}/{file} is missing" for file in ("METADATA", "WHEEL", "RECORD") if f"{folders[0]}/{file}" not in names
    ]
    refuse(filename, problems)
    return folders[0]


def _record_problems(archive: zipfile.ZipFile, record: str) -> Iterator[str]:
    exempt = {record, *(record.removesuffix("RECORD") + name for name in _SIGNATURES)}
    rows: dict[str, tuple[str, str]] = {}
    for row in csv.reader(io.TextIOWrapper(archive.open(record), encoding="utf-8", newline="")):
        if len(row) != 3:
            yield f"RECORD has the line {','.join(row)!r}, which is not path,hash,size"
        elif row[0] in rows:
            yield f"RECORD lists {row[0]} twice"
        else:
            rows[row[0]] = (row[1], row[2])
    members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    yield from (f"RECORD lists {name}, which is not there" for name in rows if name not in members and name not in exempt)
    for name, info in members.items():
        if name in exempt:
            continue
        if name not in rows:
            yield f"{name} is not in RECORD"
        elif (problem := _member_problem(archive, info, *rows[name])) is not None:
            yield problem


def _member_problem(archive: zipfile.ZipFile, info: zipfile.ZipInfo, stated: str, size: str) -> str | None:
    algorithm, _, expected = stated.partition("=")
    if algorithm not in {"sha256", "sha384", "sha512"}:
        return f"{info.filename} has no hash of sha256 or stronger in RECORD"
    digest = hashlib.new(algorithm)
    with archive.open(info) as member:
        while chunk := member.read(_CHUNK):
            digest.update(chunk)
    if base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode() != expected:
        return f"{info.filename} has another {algorithm} than RECORD states"
    if size and size != str(info.file_size):
        return f"{info.filename} has {info.file_size} bytes and RECORD states {size}"
    return None


def _metadata_problems(core: Message, project: str, version: Version) -> Iterator[str]:
    name, stated = core.get("Name", ""), core.get("Version", "")
    if canonicalize_name(name) != project:
        yield f"METADATA has the name {name!r}, not {project}"
    try:
        same = Version(stated) == version
    except InvalidVersion:
        same = False
    if not same:
        yield f"METADATA has the version {stated!r}, not {version}"
    if "Metadata-Version" not in core:
        yield "METADATA has no Metadata-Version"


def _wheel_file_problems(wheel: Message, tags: frozenset[Tag], build: str) -> Iterator[str]:
    if not wheel.get("Wheel-Version", "").startswith("1."):
        yield f"WHEEL has the Wheel-Version {wheel.get('Wheel-Version', '')!r}, not 1.x"
    stated = frozenset[Tag]().union(*(parse_tag(tag) for tag in wheel.get_all("Tag", [])))
    if stated != tags:
        yield f"WHEEL has the tags {', '.join(sorted(map(str, stated)))}, which are not the filename's"
    if wheel.get("Build", "") != build:
        yield f"WHEEL has the build tag {wheel.get('Build', '')!r}, not {build!r}"


def headers(data: bytes) -> Message:
    """Return the headers of METADATA or WHEEL (core metadata: the format of e-mail)."""
    return BytesParser().parsebytes(data, headersonly=True)


def refuse(filename: str, problems: Iterator[str] | list[str]) -> None:
    """Raise `VerificationError` when there are any problems."""
    found = list(problems)
    if found:
        raise VerificationError(subject=filename, reason="; ".join(found))
