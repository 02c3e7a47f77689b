"""What a wheel really contains, read from its bytes and checked against the binary distribution format and a build plan.

Takes bytes and nothing else: no file, no installation. Legal order: `read_wheel`, then `check_wheel`. A wheel that passes
both can be published; everything else raises `VerificationError` with every problem found, not the first.
"""

import base64
import csv
import hashlib
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser

from packaging.tags import Tag, parse_tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from kiln_pipeline.core.build_plan import BuildPlan
from kiln_pipeline.core.sdist_claims import SdistClaims, claim_problems
from kiln_pipeline.core.wheel_tags import floor_problems, tag_problems
from kiln_pipeline.errors import VerificationError

MAX_WHEEL_SIZE = 2 * 1024**3
"""Bytes of the compressed wheel."""
MAX_UNPACKED_SIZE = 8 * 1024**3
"""Bytes of all members together: the bound against zip bombs, checked before anything is unpacked."""
MAX_MEMBERS = 200_000

LOST_EXTENSION = "lost extension: "
"""How the reason of a `VerificationError` starts when the build succeeded but an expected extension module is not there."""
BAD_BINARY = "bad binary: "
"""How it starts when the binaries are not for the systems that the wheel is for."""

_EXTENSION = re.compile(r"^(?P<name>[^.]+)(?:\.(?:cpython|cp|pypy|graalpy)[\w.-]*|\.abi3t?)?\.(?:so|pyd)$")
_DECLARED = re.compile(r"^(?:.* )?building '(?P<name>[\w.]+)' extension$", re.MULTILINE)
_OPTIONAL_FAILED = re.compile(r"building extension [\"'](?P<name>[\w.]+)[\"'] failed")
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
            _raise(filename, layout_problems(archive))
            info = _dist_info(filename, archive, str(project), version)
            _raise(filename, _record_problems(archive, f"{info}/RECORD"))
            metadata = archive.read(f"{info}/METADATA")
            wheel = _headers(archive.read(f"{info}/WHEEL"))
            names = archive.namelist()
    except UNREADABLE as error:
        raise VerificationError(subject=filename, reason=f"it is no valid zip file: {error}") from error
    core = _headers(metadata)
    build_text = f"{build[0]}{build[1]}" if build else ""
    problems = [
        *_metadata_problems(core, str(project), version),
        *_wheel_file_problems(wheel, tags, build_text),
    ]
    _raise(filename, problems)
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


def check_wheel(facts: WheelFacts, plan: BuildPlan) -> None:
    """Check that a wheel is what a plan asked for.

    Raises `VerificationError`. Its reason starts with `LOST_EXTENSION` when the wheel is sound but lacks an extension module
    that the plan expects: setuptools' optional extensions end so, with exit status 0; with `BAD_BINARY` when it needs a newer
    system than the plan's floor.
    """
    problems: list[str] = []
    if facts.project != plan.release.project:
        problems.append(f"it is project {facts.project}, not {plan.release.project}")
    if Version(facts.version) != Version(plan.release.version):
        problems.append(f"it has version {facts.version}, not {plan.release.version}")
    _raise(facts.filename, problems)
    _check_extensions(facts, plan)
    _raise(facts.filename, tag_problems(facts.tags, plan))
    newer = "; ".join(floor_problems(facts.tags, plan))
    if newer:
        raise VerificationError(subject=facts.filename, reason=BAD_BINARY + newer)


def check_declared(facts: WheelFacts, plan: BuildPlan, log: str) -> None:
    """Check that a wheel has every extension module that its build said it was building (setuptools; distutils likewise).

    An optional one that does not compile is left out with exit status 0. A recipe that lists the extensions is taken at its word.
    Raises `VerificationError` that starts with `LOST_EXTENSION`.
    """
    if plan.settings.extensions:
        return
    failed = {match["name"] for match in _OPTIONAL_FAILED.finditer(log)}
    tops = {name.partition(".")[0] for name in facts.extensions}
    declared = {match["name"] for match in _DECLARED.finditer(log) if match["name"].partition(".")[0] in tops}
    lost = [name for name in sorted(failed | declared) if not any(f".{found}".endswith(f".{name}") for found in facts.extensions)]
    if lost:
        reason = f"{LOST_EXTENSION}the build began {', '.join(lost)}, which the wheel does not have"
        hint = "list in the recipe's extensions those that the wheel must have, if it can do without the others"
        raise VerificationError(subject=facts.filename, reason=reason, hint=hint)


def check_claims(facts: WheelFacts, data: bytes, claims: SdistClaims) -> None:
    """Check that a wheel, `data`, says what its sdist says, and brings the licences along. Raises `VerificationError`."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        wheel = _headers(archive.read(next(name for name in names if name.endswith(".dist-info/WHEEL") and name.count("/") == 1)))
    _raise(facts.filename, claim_problems(claims, _headers(facts.metadata), wheel, names))


def _check_extensions(facts: WheelFacts, plan: BuildPlan) -> None:
    wanted = [name for name in plan.settings.extensions if name not in facts.extensions]
    pure_platform = all(tag.endswith("-any") for tag in facts.tags)
    if wanted:
        reason = f"{', '.join(wanted)} not in the wheel"
    elif plan.expects_extension and not facts.extensions:
        reason = "the wheel has no extension module at all"
    elif not pure_platform and not facts.extensions:
        reason = "the wheel is tagged for a platform and has no extension module"
    else:
        return
    raise VerificationError(
        subject=facts.filename, reason=LOST_EXTENSION + reason, hint=_lost_hint(plan.settings.system_packages)
    )


def _lost_hint(system_packages: Mapping[str, tuple[str, ...]]) -> str:
    packages = "; ".join(f"{manager}: {' '.join(names)}" for manager, names in sorted(system_packages.items()))
    if packages:
        return f"the recipe's system packages ({packages}) are installed where a container engine builds, and not without one"
    return (
        "the build fell back to pure Python: read its log for the compiler's first error, and add what is missing to the recipe"
    )


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
    _raise(filename, problems)
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


def _headers(data: bytes) -> Message:
    return BytesParser().parsebytes(data, headersonly=True)


def _raise(filename: str, problems: Iterator[str] | list[str]) -> None:
    found = list(problems)
    if found:
        raise VerificationError(subject=filename, reason="; ".join(found))
