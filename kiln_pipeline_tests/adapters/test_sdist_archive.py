"""Sdists from strangers: the real ones unpack, the hostile ones do not."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from kiln_pipeline.adapters import sdist_archive
from kiln_pipeline.adapters.sdist_archive import BadSdist, unpack_sdist
from kiln_pipeline.core.distributions import Release
from kiln_pipeline_tests.builds import MARKUPSAFE, SDISTS

DEMO = Release(project="demo", version="1.0")
PKG_INFO = b"Metadata-Version: 2.1\nName: Demo\nVersion: 1.0\n"


def tar_of(path: Path, members: Mapping[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def unpacked(archive: Path, tmp_path: Path, release: Release = DEMO) -> Path:
    folder = tmp_path / "unpacked"
    folder.mkdir()
    return unpack_sdist(archive, folder, release)


def test_a_real_sdist_unpacks_into_its_one_folder(tmp_path: Path) -> None:
    """MarkupSafe 2.0.1 as upstream has it."""
    source = unpacked(SDISTS / MARKUPSAFE, tmp_path, Release(project="markupsafe", version="2.0.1"))
    assert (source.name, (source / "setup.py").is_file()) == ("MarkupSafe-2.0.1", True)


def test_a_zip_unpacks_too_and_keeps_what_is_executable(tmp_path: Path) -> None:
    """Old sdists are zip files; their configure scripts must run."""
    archive = tmp_path / "demo-1.0.zip"
    with zipfile.ZipFile(archive, "w") as package:
        package.writestr("demo-1.0/PKG-INFO", PKG_INFO)
        info = zipfile.ZipInfo("demo-1.0/configure")
        info.external_attr = 0o755 << 16
        package.writestr(info, b"#!/bin/sh\n")
    source = unpacked(archive, tmp_path)
    assert [(path.name, oct(path.stat().st_mode & 0o777)) for path in sorted(source.iterdir())] == [
        ("PKG-INFO", "0o644"),
        ("configure", "0o755"),
    ]


@pytest.mark.parametrize(
    "members",
    [
        {"../evil.py": b"x"},
        {"demo-1.0/../../evil.py": b"x"},
        {"demo-1.0/a": link("demo-1.0/a", "/etc/passwd")},
        {"demo-1.0/a": link("demo-1.0/a", "../../evil.py")},
        {"demo-1.0/a": link("demo-1.0/a", "../../evil.py", tarfile.LNKTYPE)},
        {"demo-1.0/dev": link("demo-1.0/dev", "", tarfile.CHRTYPE)},
    ],
    ids=["parent", "hidden parent", "absolute link", "link out", "hard link out", "device"],
)
def test_nothing_leaves_the_folder(tmp_path: Path, members: Mapping[str, bytes | tarfile.TarInfo]) -> None:
    """Paths, links and devices."""
    with pytest.raises(BadSdist, match=r"demo-1\.0\.tar\.gz cannot be unpacked"):
        unpacked(tar_of(tmp_path / "demo-1.0.tar.gz", {"demo-1.0/PKG-INFO": PKG_INFO, **members}), tmp_path)
    assert not (tmp_path / "evil.py").exists()


def test_an_absolute_path_stays_in_the_folder(tmp_path: Path) -> None:
    """tarfile's data filter takes the leading slash away; then there are two entries at the top."""
    archive = tar_of(tmp_path / "demo-1.0.tar.gz", {"demo-1.0/PKG-INFO": PKG_INFO, "/kiln-evil/x": b"x"})
    with pytest.raises(BadSdist, match="2 entries at its top"):
        unpacked(archive, tmp_path)
    assert not Path("/kiln-evil").exists()


def test_a_zip_with_an_unsafe_path_is_refused(tmp_path: Path) -> None:
    """Zip's own extraction would quietly rename it."""
    archive = tmp_path / "demo-1.0.zip"
    with zipfile.ZipFile(archive, "w") as package:
        package.writestr("demo-1.0/PKG-INFO", PKG_INFO)
        package.writestr("../evil.py", b"x")
    with pytest.raises(BadSdist, match=r"unsafe path '\.\./evil\.py'"):
        unpacked(archive, tmp_path)


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives that would fill the disk stop early."""
    archive = tar_of(tmp_path / "demo-1.0.tar.gz", {"demo-1.0/PKG-INFO": PKG_INFO, "demo-1.0/big": b"0" * 10_000})
    monkeypatch.setattr(sdist_archive, "MAX_UNPACKED_SIZE", 5000)
    with pytest.raises(BadSdist, match="unpacks to more than 5000 bytes"):
        unpacked(archive, tmp_path)
    assert not (tmp_path / "unpacked" / "demo-1.0" / "big").exists()


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"demo-1.0/PKG-INFO": PKG_INFO.replace(b"1.0", b"1.1")}, "PKG-INFO of .* is of Demo 1.1, not of demo==1.0"),
        ({"demo-1.0/PKG-INFO": PKG_INFO.replace(b"Demo", b"other")}, "is of other 1.0, not of demo==1.0"),
        ({"demo-1.0/PKG-INFO": b"nonsense"}, "not of demo==1.0"),
        ({"demo-1.0/readme": b""}, "neither PKG-INFO nor setup.py"),
        ({"PKG-INFO": PKG_INFO}, "not one folder"),
        ({}, "0 entries"),
    ],
)
def test_it_must_be_the_release(tmp_path: Path, members: Mapping[str, bytes], reason: str) -> None:
    """What is built is what was asked for."""
    with pytest.raises(BadSdist, match=reason):
        unpacked(tar_of(tmp_path / "demo-1.0.tar.gz", members), tmp_path)


def test_a_truncated_archive_is_a_bad_sdist(tmp_path: Path) -> None:
    """Half a file, or none."""
    data = (SDISTS / MARKUPSAFE).read_bytes()
    for number, part in enumerate((data[:5000], b"", b"not a tar")):
        archive = tmp_path / f"{number}.tar.gz"
        archive.write_bytes(part)
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(BadSdist):
            unpack_sdist(archive, folder, DEMO)
