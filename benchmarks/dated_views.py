"""What a dated view of the index costs: time and bytes, of a first one and after some changes, beside a copy of the pages.

    python benchmarks/dated_views.py [--projects 10000] [--files 71000] [--changed 100] [--work FOLDER]

The files are those of benchmarks/simple_index.py; pages are published and views taken by kiln's own stages on a folder, flushed
to disk. The peer is what any static site can do: a recursive copy of ``simple/``, which is not flushed.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import simple_index

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.core.distributions import DistributionFile, FileKind, ProjectPage
from kiln_pipeline.core.release_metadata import ProjectState, empty, empty_projects, replace_projects, replace_states
from kiln_pipeline.stages.dated_views import take_view
from kiln_pipeline.stages.publish import publish
from kiln_pipeline_tests.fakes import MemorySigner

SIGNER = MemorySigner("benchmark")
FIRST = date(2026, 11, 1)


class Silent:
    def step(self, text: str) -> None:
        pass


def pages_of(rows: list[dict[str, object]]) -> dict[str, ProjectPage]:
    files: dict[str, list[DistributionFile]] = {}
    for row in rows:
        filename = str(row["filename"])
        project, version = filename.split("-")[:2]
        file = DistributionFile(
            filename=filename,
            url=f"https://files.example.org/packages/{filename}",
            kind=FileKind.WHEEL,
            version=version,
            sha256=str(row["hash"]).removeprefix("sha256="),
            size=1000,
        )
        files.setdefault(project.replace("_", "-"), []).append(file)
    return {name: ProjectPage(project=name, files=tuple(own), versions=("1",)) for name, own in files.items()}


def publish_pages(pages: dict[str, ProjectPage], site: DirectoryStore, state: DirectoryStore) -> None:
    publish(
        projects=list(pages),
        metadata=lambda _: replace_projects(empty(), pages),
        project_table=replace_states(empty_projects(), {name: ProjectState.of(page) for name, page in pages.items()}),
        attempts=(),
        superseded=(),
        site=site,
        state=state,
        signer=SIGNER,
        progress=Silent(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--projects", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=71_000)
    parser.add_argument("--changed", type=int, default=100, help="projects that change before the second view")
    parser.add_argument("--work", type=Path, help="a folder on the disk to measure; a new folder in it is removed at the end")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(dir=options.work))
    site, state = DirectoryStore(work / "site"), DirectoryStore(work / "state")
    pages = pages_of(simple_index.make_files(options.projects, options.files))
    print(f"{options.files} files of {options.projects} projects; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    try:
        publish_pages(pages, site, state)
        began = time.perf_counter()
        shutil.copytree(work / "site" / "simple", work / "copy")
        copy = time.perf_counter() - began
        size = sum(path.stat().st_size for path in (work / "copy").rglob("*") if path.is_file())
        print(f"{'a copy of the pages':42} {copy:8.3f} s  {size:>12,} bytes")
        for number, (what, changed) in enumerate(
            {"the first view": 0, "a view after no change": 0, f"a view after {options.changed} changed": options.changed}.items()
        ):
            if changed:
                for name in list(pages)[:changed]:
                    pages[name] = ProjectPage(project=name, files=pages[name].files[1:], versions=("1", "2"))
                publish_pages(pages, site, state)
            day = FIRST + timedelta(number)
            began = time.perf_counter()
            report = take_view(day, today=day, site=site, state=state, signer=SIGNER, progress=Silent())
            took = time.perf_counter() - began
            ratio = f"  {copy / took:.0f} times as fast, {size / report.written_bytes:.0f} times as small" if number else ""
            print(f"{what:42} {took:8.3f} s  {report.written_bytes:>12,} bytes  ({report.written} projects written){ratio}")
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
