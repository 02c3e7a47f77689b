"""How many wheels of old and new releases come out: a plain build against kiln's ladder, side by side, on the same sdists.

Plain is the same builder without time travel and with one try: build requirements of today. The releases stand in
success_rate.toml. The promise is twice the successes where the release is older than the Python, and no loss elsewhere.
A success is a wheel that also loads: each of its extension modules is imported by the target's interpreter on this host, or,
where it wants another project first, linked in full.

Measured with cibuildwheel in containers (gcc 12, glibc 2.36) on the first 70 pairs, of which 67 were tried both ways:

                                        pairs  plain   kiln  lost   ratio
    release older than the Python          54     25     50     0    2.00
    release at least as new                13     11     12     0    1.09

45 of the 50 came out of one run over all pairs; the other five (coverage 7.2.7 and srsly on 3.13, edlib and hiredis on 3.12,
thriftrw on 3.11) out of a second one over those that had failed, after the ladder had learnt what they needed. Of the four that
neither way builds, two want modules that are gone (ssl.match_hostname; imp, after which the C extension is an optional one), one
a setuptools that runs on no 3.13, and ujson on 3.11 an inline function, for want of the optimiser here. The newer release that
fails both ways is psutil 5.9.5: where only the index can be reached, cibuildwheel cannot fetch the tool with which it audits
abi3 wheels.

    python benchmarks/success_rate.py [--builder zig|cibuildwheel] [--sample 40] [--python cp311 …] [--report] [--folder DIR]

Results are kept in DIR (default .kiln/success_rate), one JSON line per build, with the logs of those that failed, and builds
that are on record are not repeated; so are the sdists, each downloaded once. `--sample N` takes N release × Python pairs,
spread over the list, always the same.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

import pypi_simple
from packaging.specifiers import SpecifierSet
from packaging.version import Version

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kiln_pipeline.adapters.cibuildwheel import CibuildwheelBuilder
from kiln_pipeline.adapters.interpreters import find_interpreters
from kiln_pipeline.adapters.upstream import SimpleApiUpstream
from kiln_pipeline.adapters.zig import ZigBuilder
from kiln_pipeline.core.build_plan import BuildPlan
from kiln_pipeline.core.distributions import DistributionFile, FileKind, Release
from kiln_pipeline.core.limits import Limits
from kiln_pipeline.core.platforms import BuildIdentifier, Floors, PythonTag
from kiln_pipeline.core.provenance.dsse import unverified_payload
from kiln_pipeline.core.provenance.statement import LOG_NAME, parse_statement
from kiln_pipeline.core.recipes import BuildSettings
from kiln_pipeline.core.strategies import Rung, first_release
from kiln_pipeline.errors import KilnError
from kiln_pipeline.ports import FetchedPage, WheelBuilder
from kiln_pipeline.stages.build import build_wheel
from kiln_pipeline_tests.fakes import MemorySigner, MemoryStore

LIST = Path(__file__).with_suffix(".toml")
PYTHONS = ("cp39", "cp310", "cp311", "cp312", "cp313")
PLATFORM = "manylinux_x86_64"
QUICKLY = {"environment": {"CFLAGS": "-O0", "CXXFLAGS": "-O0"}}
LIMITS = Limits(time=1800)
MODES = {
    "plain": BuildSettings(cibuildwheel=QUICKLY, time_travel="latest", ladder=(Rung.LATEST,), limits=LIMITS),
    "kiln": BuildSettings(cibuildwheel=QUICKLY, limits=LIMITS),
}
"""Both without the optimiser, which decides on no success and takes most of the time."""
FLOORS = Floors(glibc=(2, 99))
"""How old a system a wheel must run on is the container image's doing, and not measured here."""
GOAL = 2.0
LOAD = """
import ctypes, importlib, importlib.machinery, os, sys
folder, *names = sys.argv[1:]
sys.path.insert(0, folder)
own = {name.partition(".")[0] for name in os.listdir(folder)}
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in own:
            raise
        found = [os.path.join(folder, *name.split(".")) + suffix for suffix in importlib.machinery.EXTENSION_SUFFIXES]
        ctypes.CDLL(next(filter(os.path.exists, found)), os.RTLD_NOW)
"""
"""Imports each extension module of the wheel unpacked in a folder; one that wants a project of elsewhere is linked in full."""


class Silent:
    def step(self, text: str) -> None:
        """Say nothing."""


class KeptUpstream:
    """The upstream index, each page asked for once and each sdist downloaded once into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._upstream, self._folder = SimpleApiUpstream(pypi_simple.PYPI_SIMPLE_ENDPOINT), folder
        self._pages: dict[str, FetchedPage | None] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def project_page(self, project: str, *, validator: str = "") -> FetchedPage | None:
        if project not in self._pages:
            self._pages[project] = self._upstream.project_page(project, validator=validator)
        return self._pages[project]

    def download(self, file: DistributionFile, folder: Path) -> Path:
        kept = self._folder / file.filename
        if not kept.is_file():
            self._upstream.download(file, self._folder)
        copyfile(kept, folder / file.filename)
        return folder / file.filename


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One release × Python."""

    release: Release
    sdist: DistributionFile
    python: PythonTag

    @property
    def key(self) -> str:
        return f"{self.release} {self.python}"

    @property
    def is_older(self) -> bool:
        """Whether the release came before the Python did."""
        first = first_release(self.python)
        return self.sdist.upload_time is not None and first is not None and self.sdist.upload_time < first


def pairs(upstream: KeptUpstream, pythons: Sequence[str], names: Sequence[str]) -> Iterator[Pair]:
    """Yield what is tried: every listed release for every Python that its requires-python admits."""
    for name in names:
        project, _, version = name.partition("==")
        release = Release.of(project, version)
        page = upstream.project_page(release.project)
        assert page is not None
        files = [file for file in page.page.files if file.kind is FileKind.SDIST and Version(file.version) == Version(version)]
        if not files:
            sys.exit(f"{name} has no sdist upstream: take it off {LIST.name}")
        for python in map(PythonTag.parse, pythons):
            if SpecifierSet(files[0].requires_python).contains(f"{python.version}.0"):
                yield Pair(release=release, sdist=files[0], python=python)


def sampled(found: Sequence[Pair], count: int) -> list[Pair]:
    """Return `count` pairs, the same in every run and spread over the list, since hashes order them; 0 returns all."""
    spread = sorted(found, key=lambda pair: hashlib.sha256(pair.key.encode()).digest())
    return spread[:count] if count else spread


def load_problem(wheel: bytes, extensions: Sequence[str], python: PythonTag) -> str:
    """Return why an extension module of a wheel cannot be loaded by this host's `python`; empty: all can."""
    path = next((found.path for found in find_interpreters() if found.tag == python), None)
    if path is None:
        sys.exit(f"install {python} on this host: its wheels are loaded here")
    with TemporaryDirectory() as folder:
        zipfile.ZipFile(io.BytesIO(wheel)).extractall(folder)
        command = [path, "-I", "-c", LOAD, folder, *extensions]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return ended.stderr.strip().rpartition("\n")[2][:300] or f"status {ended.returncode}" if ended.returncode else ""


def build(pair: Pair, mode: str, builder: WheelBuilder, upstream: KeptUpstream, folder: Path) -> dict[str, Any]:
    """Build one wheel one way and return the result's line."""
    plan = BuildPlan(
        release=pair.release,
        identifier=BuildIdentifier.parse(f"{pair.python}-{PLATFORM}"),
        sdist=pair.sdist,
        settings=MODES[mode],
        floors=FLOORS,
    )
    inbox, started = MemoryStore(), time.monotonic()
    attempt = build_wheel(
        plan,
        builder=builder,
        upstream=upstream,
        inbox=inbox,
        signer=MemorySigner("benchmark"),
        clock=lambda: datetime.now(UTC),
        work=folder / "work",
        progress=Silent(),
    )
    seconds = round(time.monotonic() - started, 1)
    statement = parse_statement(unverified_payload(inbox.get(f"{attempt.statement_sha256}/attestation.json")))
    problem = ""
    if statement.wheel is not None:
        wheel = inbox.get(f"{attempt.statement_sha256}/{attempt.wheel}")
        problem = load_problem(wheel, statement.wheel.extensions, pair.python)
    if problem or len(statement.rungs) > 1 or not attempt.wheel:
        log = folder / "logs" / f"{pair.key.replace(' ', '-')}-{mode}.log"
        log.parent.mkdir(exist_ok=True)
        log.write_bytes(gzip.decompress(inbox.get(f"{attempt.statement_sha256}/{LOG_NAME}")))
    return {
        "pair": pair.key,
        "builder": builder.name,
        "mode": mode,
        "older": pair.is_older,
        "ok": bool(attempt.wheel) and not problem,
        "rungs": [f"{rung.rung}: {rung.failure_class or 'made the wheel'}" for rung in statement.rungs],
        "proof": problem or attempt.proof,
        "seconds": seconds,
    }


def read_results(file: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    lines = file.read_text().splitlines() if file.is_file() else []
    rows = [json.loads(line) for line in lines if line.strip()]
    return {(row["pair"], row["builder"], row["mode"]): row for row in rows}


def report(results: dict[tuple[str, str, str], dict[str, Any]], builder: str) -> None:
    """Print what both ways made of the pairs that both have tried."""
    keys = sorted({pair for pair, by, _ in results if by == builder})
    both = [(results[key, builder, "plain"], results[key, builder, "kiln"]) for key in keys
            if all((key, builder, mode) in results for mode in MODES)]  # fmt: skip
    print(f"{'':34}{'pairs':>7}{'plain':>7}{'kiln':>7}{'lost':>6}{'ratio':>8}")
    for title, older in (("release older than the Python", True), ("release at least as new", False)):
        rows = [(plain, kiln) for plain, kiln in both if plain["older"] is older]
        plains, kilns = sum(plain["ok"] for plain, _ in rows), sum(kiln["ok"] for _, kiln in rows)
        lost = sum(plain["ok"] and not kiln["ok"] for plain, kiln in rows)
        ratio = f"{kilns / plains:.2f}" if plains else "-"
        print(f"{title:34}{len(rows):>7}{plains:>7}{kilns:>7}{lost:>6}{ratio:>8}")
    winners = [row["rungs"][-1].partition(":")[0] for _, row in both if row["ok"]]
    for rung in Rung:
        print(f"  made by {rung}: {winners.count(rung)}")
    unloadable = [
        [row["pair"] for row in column if "made the wheel" in row["rungs"][-1] and not row["ok"]]
        for column in zip(*both, strict=True)
    ]
    for mode, names in zip(MODES, unloadable or [[], []], strict=True):
        print(f"  {mode} wheels that do not load (counted as failures): {', '.join(names) or 'none'}")
    seconds = [sum(row["seconds"] for row in column) for column in zip(*both, strict=True)] if both else [0, 0]
    print(f"  seconds: plain {seconds[0]:.0f}, kiln {seconds[1]:.0f}; goal for older releases: ratio {GOAL:.1f}, nothing lost")
    for plain, kiln in both:
        if plain["ok"] and not kiln["ok"]:
            print(f"  LOST {kiln['pair']}: {'; '.join(kiln['rungs'])}: {kiln['proof']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--builder", choices=["zig", "cibuildwheel"], default="zig")
    parser.add_argument("--sample", type=int, default=0, help="release × Python pairs to try; 0: all")
    parser.add_argument("--python", nargs="+", default=PYTHONS, choices=PYTHONS)
    parser.add_argument("--report", action="store_true", help="build nothing, print the table of what is on record")
    parser.add_argument("--folder", type=Path, default=Path(".kiln/success_rate"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended either way, a build leaves nothing behind
    file = options.folder / "results.jsonl"
    if not options.report:
        endpoint, tools = pypi_simple.PYPI_SIMPLE_ENDPOINT, options.folder / "tools"
        zig = options.builder == "zig"
        builder = ZigBuilder(tools, endpoint=endpoint) if zig else CibuildwheelBuilder(
            tools, endpoint=endpoint, environment=os.environ)  # fmt: skip
        upstream = KeptUpstream(options.folder / "sdists")
        names = tomllib.loads(LIST.read_text())["releases"]
        todo = sampled(list(pairs(upstream, options.python, names)), options.sample)
        for number, pair in enumerate(todo, 1):
            for mode in MODES:
                if (pair.key, builder.name, mode) in read_results(file):
                    continue
                try:
                    row = build(pair, mode, builder, upstream, options.folder)
                except KilnError as error:  # the host's or upstream's fault: no result; the next run tries again
                    print(f"{pair.key} {mode}: {error}", file=sys.stderr)
                    continue
                with file.open("a") as results:
                    results.write(json.dumps(row) + "\n")
                print(f"{number}/{len(todo)} {pair.key} {mode}: {'; '.join(row['rungs'])} {row['seconds']} s", flush=True)
    report(read_results(file), options.builder)


if __name__ == "__main__":
    main()
