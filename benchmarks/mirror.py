"""kiln's mirror and bandersnatch, side by side: the same projects from one loopback upstream, one of which hangs in the end.

    python benchmarks/mirror.py [--projects 40] [--files 5] [--kilobytes 200] [--bandersnatch PROGRAM]

Makes a venv of its own for bandersnatch. Prints seconds and requests of a first run, of one in which nothing changed, and what
each has after a run in which all projects have a new release and one does not answer.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.adapters.upstream import SimpleApiUpstream
from kiln_pipeline.core.mirror.bandersnatch import bandersnatch_config
from kiln_pipeline.core.mirror.settings import Mirror, MirrorMode
from kiln_pipeline.core.platforms import Platform, PythonTag
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.stages import detect
from kiln_pipeline.stages.mirror import sync
from kiln_pipeline.workspace import Silent
from kiln_pipeline_tests.loopback_upstream import LoopbackUpstream

BANDERSNATCH = "6.8.0"
"""The newest for Python 3.11; 8.x needs 3.12."""
HANGS = 30.0
JSON = {"Content-Type": "application/vnd.pypi.simple.v1+json"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("projects", 40), ("files", 5), ("kilobytes", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--bandersnatch", type=Path, help="An installed one; without it, it is installed.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kiln-mirror-") as name:
        folder = Path(name)
        program = arguments.bandersnatch or install(folder / "venv")
        pages, files = content(arguments.projects, arguments.files, arguments.kilobytes * 1000)
        results = {"kiln": [], "bandersnatch": []}
        for who in results:
            with upstream(pages, files) as server:
                for round_ in ("first", "unchanged", "one project hangs"):
                    if round_ == "one project hangs":
                        add(server, pages, files)
                    asked, begun = len(server.requests), time.monotonic()
                    there = kiln(folder, server, pages) if who == "kiln" else bandersnatch(program, folder, server, pages)
                    row = (round_, time.monotonic() - begun, len(server.requests) - asked, there)
                    results[who].append(row)
                    print(f"{who:13} {row[0]:18} {row[1]:7.1f} s {row[2]:6} requests {row[3]:6} files there", flush=True)
        for ours, theirs in zip(results["kiln"], results["bandersnatch"], strict=True):
            print(f"{ours[0]}: {theirs[1] / ours[1]:.1f} times as fast, {ours[2]} requests to {theirs[2]}")


def content(projects: int, count: int, size: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return pages and files: random bytes under wheels' names, each with core metadata."""
    pages: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    for number in range(projects):
        project = f"project{number}"
        rows = [row(project, version, size, files) for version in range(1, count + 1)]
        pages[project] = {"meta": {"api-version": "1.4"}, "name": project, "versions": [], "files": rows}
    return pages, files


def row(project: str, version: int, size: int, files: dict[str, bytes]) -> dict[str, Any]:
    filename = f"{project}-{version}.0-py3-none-any.whl"
    data = files[filename] = random.Random(filename).randbytes(size)
    metadata = files[f"{filename}.metadata"] = f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}.0\n".encode()
    return {
        "filename": filename,
        "url": f"https://files.example.org/{filename}",
        "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
        "size": size,
        "core-metadata": {"sha256": hashlib.sha256(metadata).hexdigest()},
        "upload-time": "2026-01-01T00:00:00Z",
    }


def upstream(pages: dict[str, Any], files: dict[str, bytes]) -> LoopbackUpstream:
    server = LoopbackUpstream(pages, files, etags=True)
    legacy(server, pages, serial=1)
    return server


def legacy(server: LoopbackUpstream, pages: dict[str, Any], serial: int) -> None:
    """Serve what bandersnatch asks for beside the simple index: a list of all projects with serials, and the legacy JSON."""
    listed = [{"name": project, "_last-serial": page.get("serial", 1)} for project, page in pages.items()]
    server.set_path("/simple", json.dumps({"meta": {"api-version": "1.4"}, "projects": listed}).encode(), JSON)
    for project, page in pages.items():
        releases = {file["filename"].split("-")[1]: [legacy_file(server, file)] for file in page["files"]}
        body = {"info": {"name": project, "version": "1.0"}, "last_serial": serial, "releases": releases}
        server.set_path(f"/pypi/{project}/json", json.dumps(body).encode(), {**JSON, "X-PyPI-Last-Serial": str(serial)})


def packages_path(sha256: str, filename: str) -> str:
    """Return where bandersnatch wants a file to be: it takes no other form of address."""
    return f"/packages/{sha256[:2]}/{sha256[2:4]}/{sha256[4:]}/{filename}"


def legacy_file(server: LoopbackUpstream, file: dict[str, Any]) -> dict[str, Any]:
    sha256 = file["hashes"]["sha256"]
    server.set_path(packages_path(sha256, file["filename"]), server.files[file["filename"]])
    return {
        "filename": file["filename"],
        "url": f"{server.origin}{packages_path(sha256, file['filename'])}",
        "digests": {"sha256": sha256, "md5": sha256[:32]},
        "md5_digest": sha256[:32],
        "size": file["size"],
        "packagetype": "bdist_wheel",
        "requires_python": None,
        "upload_time_iso_8601": "2026-01-01T00:00:00.000000Z",
        "yanked": False,
        "yanked_reason": None,
    }


def add(server: LoopbackUpstream, pages: dict[str, Any], files: dict[str, bytes]) -> None:
    """Every project gets a release, and the first one does not answer in time."""
    server.files = files = dict(server.files)
    new = {
        project: {**page, "serial": 2, "files": [*page["files"], row(project, 99, 200_000, files)]}
        for project, page in pages.items()
    }
    for project, page in new.items():
        server.set_page(project, page)
    legacy(server, new, serial=2)
    for path in ("/simple/project0/", "/pypi/project0/json"):
        server.fault(path, "slow", seconds=HANGS)


def kiln(folder: Path, server: LoopbackUpstream, pages: dict[str, Any]) -> int:
    site, state = DirectoryStore(folder / "kiln" / "site"), DirectoryStore(folder / "kiln" / "state")
    client, now = SimpleApiUpstream(server.url, timeout=10.0, retries=2), datetime.now(UTC)
    tables = detect.refresh(list(pages), upstream=client, state=state, now=now, progress=Silent())
    sync(
        recipes(pages), tables.table, tables.projects, upstream=client, site=site, state=state, work=folder / "kiln" / "work",
        now=now, progress=Silent(),
    )  # fmt: skip
    return sum(key.endswith(".whl") for key in site.keys("mirror/"))


def recipes(pages: dict[str, Any]) -> list[Recipe]:
    python, platform = PythonTag.parse("cp312"), Platform.MANYLINUX_X86_64
    copy = Mirror(mode=MirrorMode.COPY)
    return [
        Recipe(project=project, reason="", versions=(), pythons=(python,), platforms=(platform,), mirror=copy)
        for project in pages
    ]


def install(venv: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [venv / "bin" / "python", "-m", "pip", "install", "-q", f"bandersnatch=={BANDERSNATCH}"]
    subprocess.run(pip, check=True, timeout=600)
    return venv / "bin" / "bandersnatch"


def bandersnatch(program: Path, folder: Path, server: LoopbackUpstream, pages: dict[str, Any]) -> int:
    home = folder / "bandersnatch"
    home.mkdir(exist_ok=True)
    text = bandersnatch_config(recipes(pages), upstream=server.url, directory=str(home)).replace("timeout = 30", "timeout = 10")
    (folder / "bandersnatch.conf").write_text(text)
    done = subprocess.run(
        [program, "-c", folder / "bandersnatch.conf", "mirror"], check=False, capture_output=True, text=True, timeout=1200
    )
    if done.returncode:
        print(f"bandersnatch ended with {done.returncode}: {done.stderr.splitlines()[-1] if done.stderr else ''}")
    return sum(1 for path in home.rglob("*.whl") if path.is_file())


if __name__ == "__main__":
    main()
