"""What kiln costs on top of cibuildwheel: a batch of small builds, plain and through the whole line, side by side.

Plain is the cibuildwheel that kiln uses, from the same environment and with the same image, on an sdist that lies there already.
kiln is the whole of `kiln run`: its start, upstream's pages, downloads, builds, checks, signing, log and pages; with build
requirements of today, as plain has them. The two take turns by release, so that a busy machine is busy for both. CPU time is that
of all processes, those in the containers included. The promise is a ratio of 1.05 for 20 builds, one at a time.

    python benchmarks/build_overhead.py [--releases 10] [--jobs 1] [--folder DIR]

Needs a container engine; the environments of cibuildwheel are made before the clock runs, and kept in DIR.
"""

import argparse
import contextlib
import ctypes
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pypi_simple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kiln_pipeline.adapters.cibuildwheel import HOST_SETTINGS
from kiln_pipeline.adapters.processes import passed_through
from kiln_pipeline.adapters.tool_environments import ToolEnvironments
from kiln_pipeline.adapters.upstream import SimpleApiUpstream
from kiln_pipeline.core.platforms import BuildIdentifier, cibuildwheel_version
from kiln_pipeline.definitions import assemble
from kiln_pipeline.defs.instance import prepare
from kiln_pipeline.defs.run import Pipeline, Todo, wanted
from kiln_pipeline.workspace import Workspace

PYTHONS = ("cp311", "cp312")
RELEASES = (
    "markupsafe==2.0.1", "bitarray==2.3.4", "ciso8601==2.1.3", "setproctitle==1.2.2", "simplejson==3.17.2", "mmh3==3.0.0",
    "xxhash==2.0.2", "ujson==4.0.2", "netifaces==0.10.9", "python-levenshtein==0.12.2",
)  # fmt: skip
"""Small, older than both Pythons, and they build with the setuptools of today."""
GOAL = 1.05
SUBREAPER = 36  # prctl(2): PR_SET_CHILD_SUBREAPER
DEFAULTS = """\
[targets]
pythons = ["cp311", "cp312"]
platforms = ["manylinux_x86_64"]

[build]
time-travel = "latest"
ladder = ["latest"]
"""


@dataclass
class Cost:
    """Seconds of one way, by release."""

    wall: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def counting(self, what: str) -> Iterator[None]:
        wall, cpu = time.monotonic(), cpu_seconds()
        yield
        self.wall[what] = self.wall.get(what, 0.0) + time.monotonic() - wall
        self.cpu[what] = self.cpu.get(what, 0.0) + cpu_seconds() - cpu


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and all that has ended below it; an engine's monitors end a little later."""
    time.sleep(0.3)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def build_plain(python: Path, identifier: BuildIdentifier, sdist: Path, environment: dict[str, str]) -> bool:
    with tempfile.TemporaryDirectory(prefix="kiln-plain-") as out:
        command = [python, "-m", "cibuildwheel", "--only", str(identifier), "--output-dir", out, sdist]
        with Path(out, "log").open("w") as log:
            subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
        return len(list(Path(out).glob("*.whl"))) == 1


def lay_out(folder: Path, releases: tuple[str, ...]) -> None:
    """Write a working folder for kiln: recipes of these releases, Dagster's two files."""
    root = Path(__file__).resolve().parent.parent
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(root / name, folder / name)
    (folder / "recipes").mkdir()
    (folder / "recipes" / "defaults.toml").write_text(DEFAULTS)
    for name in releases:
        project, _, version = name.partition("==")
        (folder / "recipes" / project).mkdir()
        text = f'project = "{project}"\nreason = "a benchmark"\nversions = "=={version}"\n'
        (folder / "recipes" / project / "recipe.toml").write_text(text)


def run(releases: tuple[str, ...], folder: Path, tools: Path, jobs: int) -> tuple[Cost, Cost, list[str]]:
    """Build everything both ways; return both costs, and what one of the ways did not build."""
    plain, kiln, failed = Cost(), Cost(), list[str]()
    lay_out(folder, releases)
    identifiers = [BuildIdentifier.parse(f"{python}-manylinux_x86_64") for python in PYTHONS]
    host = {**passed_through(os.environ), **{k: v for k, v in os.environ.items() if HOST_SETTINGS.fullmatch(k)}}
    version = cibuildwheel_version(identifiers[0])
    environments = ToolEnvironments(tools, endpoint=pypi_simple.PYPI_SIMPLE_ENDPOINT, host=os.environ)
    python = environments.python(f"cibuildwheel-{version}", (f"cibuildwheel=={version}",))
    (folder / "home").mkdir()
    (folder / "home" / "tools").symlink_to(tools)
    with kiln.counting("start"):
        subprocess.run([sys.executable, "-c", "import kiln_pipeline.definitions"], cwd=folder, check=True)
    with kiln.counting("orchestration"):
        workspace = Workspace.from_environment(folder, {**os.environ, "KILN_HOME": str(folder / "home")})
        prepare(folder, workspace.home, os.environ)
        pipeline = Pipeline(workspace, assemble(workspace))
        asked = wanted(releases, workspace.recipes, pythons=())
        pipeline.refresh(asked.projects)
        todo = pipeline.todo(asked, limit=0)
    for number, item in enumerate(todo):
        for way in ("kiln", "plain") if number % 2 else ("plain", "kiln"):
            if way == "plain":
                failed += build_release_plain(item, python, host, plain, folder)
                continue
            with kiln.counting(str(item.release)):
                pipeline.build(item, jobs=jobs)
        name = str(item.release)
        told = (f"{way} {cost.wall[name]:.1f} s, {cost.cpu[name]:.1f} s CPU" for way, cost in (("plain", plain), ("kiln", kiln)))
        print(f"{name}: {'; '.join(told)}", flush=True)
    with kiln.counting("publishing"):
        attempts = pipeline.publish()
    failed += [f"kiln: {each.release} {each.identifier}: {each.failure}: {each.proof}" for each in attempts if each.failure]
    return plain, kiln, failed


def build_release_plain(item: Todo, python: Path, host: dict[str, str], cost: Cost, folder: Path) -> list[str]:
    """Build the same identifiers of a release with cibuildwheel alone; return those that failed. The download is for nothing."""
    sdist = item.buildable[0].sdist
    SimpleApiUpstream(pypi_simple.PYPI_SIMPLE_ENDPOINT).download(sdist, folder)
    with cost.counting(str(item.release)):
        made = {each.identifier: build_plain(python, each.identifier, folder / sdist.filename, host) for each in item.buildable}
    return [f"plain: {item.release} {identifier}" for identifier, well in made.items() if not well]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--releases", type=int, default=len(RELEASES), help="how many of the releases; two builds each")
    parser.add_argument("--jobs", type=int, default=1, help="kiln's builds at once; plain builds one at a time")
    parser.add_argument("--folder", type=Path, default=Path(".kiln/build_overhead"))
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(SUBREAPER, 1)  # containers' monitors leave their parents; their CPU time is to come here
    tools = options.folder.resolve() / "tools"
    tools.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kiln-overhead-") as scratch:
        plain, kiln, failed = run(RELEASES[: options.releases], Path(scratch), tools, options.jobs)
    print(f"\n{'':28}{'plain':>9}{'kiln':>9}{'ratio':>8}")
    for title, a, b in (("wall, seconds", plain.wall, kiln.wall), ("CPU, seconds", plain.cpu, kiln.cpu)):
        print(f"{title:28}{sum(a.values()):>9.1f}{sum(b.values()):>9.1f}{sum(b.values()) / sum(a.values()):>8.3f}")
    for part in ("start", "orchestration", "publishing"):
        print(f"  of kiln's: {part:16}{kiln.wall[part]:>8.1f} s wall, {kiln.cpu[part]:.1f} s CPU")
    print(f"{len(plain.wall) * len(PYTHONS)} builds, {options.jobs} at once; goal {GOAL}; load {os.getloadavg()[0]:.1f}")
    for line in failed:
        print(f"FAILED {line}")


if __name__ == "__main__":
    main()
