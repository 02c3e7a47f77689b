"""Pages of a simple index over the same files, full and after one change: kiln beside dumb-pypi and simple503, in one run.

    python benchmarks/simple_index.py [--projects 10000] [--files 71000] [--without simple503] [--work FOLDER]

Promised: kiln at least 5 times as fast in full, and at least 50 times after one changed project, as the faster of the two.
Each tool runs in a process of its own; its imports are not counted, its reading of what it starts from and its writing are. What
the whole process took, interpreter and imports included, stands beside it; so does the time of the processor, which tells more
than the clock on a machine that others use, and on a disk that others write to (`--work /dev/shm` leaves the disk out).
kiln writes JSON, HTML and a signature for each project and flushes them to disk; dumb-pypi writes HTML and JSON, simple503 HTML,
and neither flushes. The files are made up, with the name lengths and counts of a real index; simple503 needs them as real wheels.
Exits with 1 when a promise is not kept.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

PEERS = {"dumb-pypi": "dumb-pypi==1.15.0", "simple503": "simple503==0.4.0"}
TAGS = [f"cp3{minor}-cp3{minor}-manylinux_2_17_x86_64.manylinux2014_x86_64" for minor in range(6, 14)]
UPLOADED = datetime(2022, 12, 1, tzinfo=UTC)


class Times(NamedTuple):
    """Seconds: by the clock and of the processor, without imports; by the clock of the whole process."""

    wall: float
    cpu: float
    process: float

    def __str__(self) -> str:
        return f"{self.wall:9.3f} s  ({self.cpu:.3f} s of processor; {self.process:.3f} s with start and imports)"


def make_files(projects: int, files: int) -> list[dict[str, object]]:
    """Return `files` wheels of `projects` projects, as dumb-pypi's list has them; a few projects have most of the files."""
    counts = [1] * projects
    for number in range(files - projects):
        counts[(number * number) % projects] += 1
    rows: list[dict[str, object]] = []
    for project, count in enumerate(counts):
        for number in range(count):
            name = f"project_{project:05d}-{number // len(TAGS)}.{number % 7}.0-{TAGS[number % len(TAGS)]}.whl"
            digest = hashlib.sha256(name.encode()).hexdigest()
            stamp = int(UPLOADED.timestamp()) + number
            rows.append({"filename": name, "hash": f"sha256={digest}", "requires_python": ">=3.6", "upload_timestamp": stamp})
    return rows


def with_one_more(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return the files with one new release of one project in the middle."""
    middle = rows[len(rows) // 2]
    name = str(middle["filename"]).split("-")[0] + f"-99.0-{TAGS[0]}.whl"
    return [*rows, {**middle, "filename": name, "hash": f"sha256={hashlib.sha256(name.encode()).hexdigest()}"}]


KILN = """
import sys, time
from datetime import UTC, datetime, timedelta
from pathlib import Path
import pandas, pyarrow.parquet  # pyarrow imports pandas on its first use of a Python value
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.core.release_metadata import PROJECTS_SCHEMA, SCHEMA
from kiln_pipeline.stages.publish import publish
from kiln_pipeline.stages.tables import load_rows, load_table

class Signer:
    name = "benchmark"
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public_key = key.public_key().public_bytes_raw()
    def sign(self, message): return self.key.sign(message)

class Silent:
    def step(self, text): pass

folder = Path(sys.argv[1])
began, used = time.perf_counter(), time.process_time()
state, name = DirectoryStore(folder / "state"), sys.argv[2]
table = load_table(state, f"{name}-projects.parquet", PROJECTS_SCHEMA)
projects = table.column("project").to_pylist()
report = publish(
    projects=projects, project_table=table,
    metadata=lambda projects: load_rows(state, f"{name}-files.parquet", SCHEMA, "project", projects),
    attempts=(), superseded=(), progress=Silent(),
    site=DirectoryStore(folder / "site"), state=state, signer=Signer(),
)
print(time.perf_counter() - began, time.process_time() - used, len(report.written), len(report.problems))
"""
DUMB = """
import sys, time
from dumb_pypi.main import main
began, used = time.perf_counter(), time.process_time()
main(sys.argv[1:])
print(time.perf_counter() - began, time.process_time() - used)
"""
SIMPLE = """
import sys, time
from simple503 import make_simple
began, used = time.perf_counter(), time.process_time()
make_simple(sys.argv[1], sys.argv[2], copy=True, extract_metadata=False)
print(time.perf_counter() - began, time.process_time() - used)
"""


def clean_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "UV_"))}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONPATH": str(Path(__file__).parents[1])}


def timed(python: Path, code: str, *arguments: str | Path) -> tuple[Times, list[str]]:
    """Run `code` and return what it says it took, and what else it says."""
    environment = clean_environment()
    began = time.perf_counter()
    done = subprocess.run([python, "-c", code, *arguments], env=environment, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{python} failed:\n{done.stderr}")
    wall, cpu, *more = done.stdout.split("\n")[-2].split()
    return Times(wall=float(wall), cpu=float(cpu), process=time.perf_counter() - began), more


def peer_python(work: Path, requirement: str) -> Path:
    """Install a peer into an environment of its own and return that environment's interpreter."""
    folder = work / requirement.partition("==")[0]
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", requirement], env=clean_environment(), check=True)
    return python


def kiln(work: Path, before: list[dict[str, object]], after: list[dict[str, object]]) -> dict[str, Times]:
    from kiln_pipeline.adapters.directory import DirectoryStore
    from kiln_pipeline.core.distributions import DistributionFile, FileKind, ProjectPage
    from kiln_pipeline.core.release_metadata import ProjectState, empty, empty_projects, replace_projects, replace_states
    from kiln_pipeline.stages.tables import table_bytes

    def write(name: str, rows: list[dict[str, object]]) -> None:
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
                requires_python=str(row["requires_python"]),
                upload_time=datetime.fromtimestamp(int(str(row["upload_timestamp"])), UTC),
            )
            files.setdefault(project.replace("_", "-"), []).append(file)
        pages = {
            project: ProjectPage(project=project, files=tuple(own), versions=tuple(dict.fromkeys(file.version for file in own)))
            for project, own in files.items()
        }
        states = {project: ProjectState.of(page) for project, page in pages.items()}
        state.put(f"{name}-files.parquet", table_bytes(replace_projects(empty(), pages)))
        state.put(f"{name}-projects.parquet", table_bytes(replace_states(empty_projects(), states)))

    folder = work / "kiln"
    state = DirectoryStore(folder / "state")
    write("before", before)
    write("after", after)
    projects = len({str(row["filename"]).split("-")[0] for row in before})
    results: dict[str, Times] = {}
    for name, table, written in (("full", "before", projects), ("unchanged", "before", 0), ("one change", "after", 1)):
        times, more = timed(Path(sys.executable), KILN, folder, table)
        if more != [str(written), "0"]:
            raise SystemExit(f"kiln wrote {more[0]} projects with {more[1]} problems, not {written}")
        results[name] = times
    return results


def dumb_pypi(work: Path, before: list[dict[str, object]], after: list[dict[str, object]]) -> dict[str, Times]:
    python = peer_python(work, PEERS["dumb-pypi"])
    for name, rows in (("before", before), ("after", after)):
        (work / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = work / "dumb-pypi-site"
    always = ["--output-dir", output, "--packages-url", "https://files.example.org/packages/", "--no-per-release-json"]
    full = timed(python, DUMB, *always, "--package-list-json", work / "before.jsonl")
    change = [*always, "--package-list-json", work / "after.jsonl", "--previous-package-list-json", work / "before.jsonl"]
    return {"full": full[0], "one change": timed(python, DUMB, *change)[0]}


def simple503(work: Path, before: list[dict[str, object]], after: list[dict[str, object]]) -> dict[str, Times]:
    """simple503 has no incremental mode: after one change it does everything again."""
    python = peer_python(work, PEERS["simple503"])
    wheels = work / "wheels"
    wheels.mkdir()
    for row in before:
        write_wheel(wheels, row)
    results = {"full": timed(python, SIMPLE, wheels, work / "simple503-site")[0]}
    write_wheel(wheels, after[-1])
    return {**results, "one change": timed(python, SIMPLE, wheels, work / "simple503-site")[0]}


def write_wheel(folder: Path, row: dict[str, object]) -> None:
    filename = str(row["filename"])
    project, version, tag = filename.removesuffix(".whl").split("-", 2)
    requires = f"Requires-Python: {row['requires_python']}\n"
    with zipfile.ZipFile(folder / filename, "w") as archive:
        info = f"{project}-{version}.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n{requires}")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: false\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")


TOOLS = {"kiln": kiln, "dumb-pypi": dumb_pypi, "simple503": simple503}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--projects", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=71_000)
    parser.add_argument("--without", action="append", default=[], choices=list(PEERS), help="leave this peer out")
    parser.add_argument("--work", type=Path, help="a folder on the disk to measure; a new folder in it is removed at the end")
    options = parser.parse_args()
    before = make_files(options.projects, options.files)
    after = with_one_more(before)
    work = Path(tempfile.mkdtemp(dir=options.work))
    results: dict[str, dict[str, Times]] = {}
    print(f"{len(before)} files of {options.projects} projects; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    try:
        for name, tool in TOOLS.items():
            if name not in options.without:
                results[name] = tool(work, before, after)
                for what, times in results[name].items():
                    print(f"{name:10} {what:10} {times}", flush=True)
    finally:
        shutil.rmtree(work)
    kept = True
    for what, goal in (("full", 5), ("one change", 50)):
        fastest, peer = min((times[what].wall, name) for name, times in results.items() if name != "kiln")
        ratio, processor = fastest / results["kiln"][what].wall, results[peer][what].cpu / results["kiln"][what].cpu
        kept = kept and ratio >= goal
        verdict = "kept" if ratio >= goal else "missed"
        print(f"{what}: {ratio:.1f} times as fast as {peer} (goal {goal}: {verdict}); {processor:.1f} times less processor time")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
