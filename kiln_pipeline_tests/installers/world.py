"""Two small indexes for installers: an upstream on loopback, and a site that kiln publishes over it. Real wheels and sdists.

markupsafe      upstream has the sdist of 2.0.1, as captured; ours is built for this machine
speedy-thing    the same, with wheels of upstream's for other platforms; 0.9 only upstream has
latecomer       upstream uploaded a wheel after ours was built, and ours is yanked
withdrawn       upstream has yanked 1.1
fresh           1.0 with ours, and 2.0 that upstream uploaded two days ago
plain-dep       upstream has it, and kiln does not track it
"""

import hashlib
import io
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from packaging.tags import sys_tags

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.adapters.upstream import SimpleApiUpstream
from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.release_metadata import ProjectState, empty, empty_projects, replace_projects, replace_states
from kiln_pipeline.stages.dated_views import take_view
from kiln_pipeline.stages.publish import publish
from kiln_pipeline_tests.core.simple_index.pages import attempt
from kiln_pipeline_tests.fakes import MemorySigner, make_wheel
from kiln_pipeline_tests.loopback_upstream import LoopbackUpstream, captured_sdists

NOW = datetime.now(UTC).replace(microsecond=0)
BUILT, CUTOFF, RECENT = NOW - timedelta(days=30), NOW - timedelta(days=10), NOW - timedelta(days=2)
"""When ours were built, what exclude-newer is set to, and when upstream uploaded `fresh` 2.0."""
UPLOADED = datetime(2022, 12, 1, 12, 0, tzinfo=UTC)
HERE = next(str(tag) for tag in sys_tags() if "manylinux_2_17" in tag.platform or tag.platform.startswith("macosx_1"))
"""The tag of a wheel that is compiled for this machine."""
SIGNER = MemorySigner("index.example.org")
UNTRACKED = "plain-dep"
BACKEND = "backend-of-nobody"
"""What building an sdist of this world needs, and no index has: who tries it is caught."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file of upstream's."""

    filename: str
    data: bytes
    uploaded: datetime = UPLOADED
    yanked: bool | str = False


def sdist(project: str, version: str) -> File:
    """Return a small sdist that says all that a resolver asks for (PEP 643)."""
    stem = f"{project.replace('-', '_')}-{version}"
    members = {
        "PKG-INFO": f"Metadata-Version: 2.2\nName: {project}\nVersion: {version}\n",
        "pyproject.toml": f'[build-system]\nrequires = ["{BACKEND}"]\nbuild-backend = "none"\n',
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(f"{stem}/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return File(filename=f"{stem}.tar.gz", data=buffer.getvalue())


def wheel(project: str, version: str, tag: str = "py3-none-any", *, build: str = "", **more: Any) -> File:
    filename, data = make_wheel(project, version, tag, extension=None if tag.endswith("any") else "_speedups", build=build)
    return File(filename=filename, data=data, **more)


def metadata_of(file: File) -> bytes:
    """Return the core metadata file of a wheel of `make_wheel`."""
    project, version = file.filename.split("-")[:2]
    return f"Metadata-Version: 2.1\nName: {project.replace('_', '-')}\nVersion: {version}\n".encode()


ELSEWHERE = wheel("speedy-thing", "1.0", f"{HERE.partition('-')[0]}-none-win_amd64")
"""A wheel of upstream's for a platform that kiln has nothing for."""
BEFORE: Mapping[str, Sequence[File]] = {
    "markupsafe": [
        wheel("MarkupSafe", "2.0.1", "cp310-cp310-manylinux_2_17_x86_64"),
        File(filename="MarkupSafe-2.0.1.tar.gz", data=captured_sdists()["MarkupSafe-2.0.1.tar.gz"]),
    ],
    "speedy-thing": [
        wheel("speedy-thing", "0.9"),
        ELSEWHERE,
        wheel("speedy-thing", "1.0", "cp36-cp36m-manylinux_2_17_x86_64"),
        sdist("speedy-thing", "1.0"),
    ],
    "latecomer": [sdist("latecomer", "1.0")],
    "withdrawn": [wheel("withdrawn", "1.0"), wheel("withdrawn", "1.1", yanked="it lost its way")],
    "fresh": [sdist("fresh", "1.0")],
    UNTRACKED: [wheel(UNTRACKED, "3.0")],
}
AFTER: Mapping[str, Sequence[File]] = {
    **BEFORE,
    "latecomer": [*BEFORE["latecomer"], wheel("latecomer", "1.0", HERE, uploaded=RECENT)],
    "fresh": [*BEFORE["fresh"], wheel("fresh", "2.0", uploaded=RECENT)],
}
OURS = [wheel(name, version, HERE, build="1") for name, version in
        (("markupsafe", "2.0.1"), ("speedy-thing", "1.0"), ("latecomer", "1.0"), ("fresh", "1.0"))]  # fmt: skip


def page(project: str, files: Sequence[File]) -> dict[str, Any]:
    """Return upstream's page (PEP 691)."""
    rows: list[dict[str, Any]] = []
    for file in files:
        row: dict[str, Any] = {"filename": file.filename, "url": file.filename, "size": len(file.data), "yanked": file.yanked}
        row |= {"hashes": {"sha256": sha256(file.data)}, "upload-time": file.uploaded.isoformat()[:-6] + "Z"}
        if file.filename.endswith(".whl"):
            row["core-metadata"] = {"sha256": sha256(metadata_of(file))}
        rows.append(row)
    versions = sorted({file.filename.removesuffix(".tar.gz").split("-")[1] for file in files})
    return {"meta": {"api-version": "1.4"}, "name": project, "versions": versions, "files": rows}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def upstream() -> LoopbackUpstream:
    """Return the upstream index as it is now, not yet started."""
    files = {file.filename: file.data for each in AFTER.values() for file in each}
    wheels = [file for each in AFTER.values() for file in each if file.filename.endswith(".whl")]
    files |= {f"{file.filename}.metadata": metadata_of(file) for file in wheels}
    return LoopbackUpstream({project: page(project, each) for project, each in AFTER.items()}, files)


def publish_sites(server: LoopbackUpstream, folder: Path) -> tuple[Path, Path]:
    """Publish what kiln tracks of an upstream twice, and return both sites: as it was before upstream caught up, and now.

    Of the site before there is a dated view.
    """
    for project in ("latecomer", "fresh"):
        server.set_page(project, page(project, BEFORE[project]))
    before = _publish(server.url, folder / "before", superseded=())
    site, state = DirectoryStore(before), DirectoryStore(folder / "before" / "state")
    take_view(BUILT.date(), today=NOW.date(), site=site, state=state, signer=SIGNER, progress=Steps())
    for project in ("latecomer", "fresh"):
        server.set_page(project, page(project, AFTER[project]))
    shutil.copytree(folder / "before", folder / "now")
    return before, _publish(server.url, folder / "now", superseded=["latecomer"])


class Steps:
    def step(self, text: str) -> None: ...


def _publish(upstream_url: str, folder: Path, *, superseded: Sequence[str]) -> Path:
    site, attempts, client = DirectoryStore(folder / "site"), list[Attempt](), SimpleApiUpstream(upstream_url)
    for index, file in enumerate(OURS):
        site.put_if_absent(site_layout.wheel(file.filename), file.data)
        site.put_if_absent(site_layout.wheel_metadata(file.filename), metadata_of(file))
        site.put_if_absent(site_layout.wheel_provenance(file.filename), b"{}\n")
        attempts.append(_attempt(file, index))
    pages = {project: fetched.page for project in BEFORE if project != UNTRACKED and (fetched := client.project_page(project))}
    report = publish(
        projects=list(pages),
        metadata=lambda _: replace_projects(empty(), pages),
        project_table=replace_states(empty_projects(), {name: ProjectState.of(each) for name, each in pages.items()}),
        attempts=attempts,
        superseded={each.wheel for each in attempts if each.release.project in superseded},
        site=site,
        state=DirectoryStore(folder / "state"),
        signer=SIGNER,
        progress=Steps(),
    )
    assert report.problems == ()
    return folder / "site"


def _attempt(file: File, index: int) -> Attempt:
    """Return the entry of a wheel of ours in the audit log."""
    project, version = file.filename.split("-")[:2]
    release = Release.of(project, version)
    source = next(each for each in BEFORE[release.project] if each.filename.endswith(".tar.gz"))
    return attempt(
        file.filename,
        release=release,
        wheel_sha256=sha256(file.data),
        wheel_size=len(file.data),
        metadata_sha256=sha256(metadata_of(file)),
        sdist_sha256=sha256(source.data),
        started=BUILT - timedelta(minutes=5),
        finished=BUILT,
        requires_python="",
        index=index,
    )
