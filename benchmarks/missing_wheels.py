"""Every gap of a whole package index: 8.2 million releases, 17 million files, 60 targets, on two cores.

The index is synthetic and on disk as Parquet, sorted by project, in the schema of kiln's own table (the columns that detection
reads). Its shape is the real one's: as many releases and files, about 700,000 projects; every release has the files (tag sets,
build tags, requires-python, yanks, kinds of sdist) of some release of the captured pages in kiln_pipeline_tests/data, drawn
with a seed. How many releases are pure and how many have platform wheels is not known from forty captured projects, which are
popular ones: small releases are drawn more often, and the share is chosen so that files per release come out as in the real
index.

Measured in a fresh process that is pinned to two cores: reading, deciding and counting, and its peak memory. Beside it, in the
same run, the loop that one would write per file with packaging (`parse_wheel_filename`, tag sets, `SpecifierSet.contains`) on a
sample, whose answers must be the same. Promises: under 60 s and 6 GB, at least 20 times the loop.

    python benchmarks/missing_wheels.py [--scale 1.0] [--data FOLDER] [--sample 40000]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import parse_wheel_filename

from kiln_pipeline.core.coverage import TargetSet
from kiln_pipeline.core.gaps import GAP_COLUMNS, find_gaps, whole_projects
from kiln_pipeline.core.platforms import BuildIdentifier, Platform, PythonTag
from kiln_pipeline.core.release_metadata import SCHEMA
from kiln_pipeline.core.simple_index.filenames import parse_filename
from kiln_pipeline.core.tags import Target, accepted_tags
from kiln_pipeline_tests.captured import captured

RELEASES, FILES, PROJECTS = 8_200_000, 17_000_000, 700_000
ROW_GROUP = 1_000_000
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PYTHONS = ("cp38", "cp39", "cp310", "cp311", "cp312", "cp313", "cp313t", "cp314", "cp314t", "cp315")
TARGETS = [
    Target(identifier=BuildIdentifier(python=PythonTag.parse(python), platform=platform))
    for platform in Platform
    for python in PYTHONS
]
PROMISES = {"seconds": 60.0, "gigabytes": 6.0, "times": 20.0}


def shapes() -> tuple[list[list[dict[str, Any]]], np.ndarray]:
    """Return what the captured releases look like (their files without name and version), and which have platform wheels."""
    releases: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in captured().to_pylist():
        try:
            kind, version = parse_filename(row["filename"], row["project"])
        except ValueError:
            continue
        stem = row["filename"].split("-")
        if kind == "wheel":
            suffix = "-" + "-".join(stem[2:])
        else:
            suffix = next((s for s in (".tar.gz", ".zip", ".tar.bz2") if row["filename"].endswith(s)), ".exe")
        releases[row["project"], version].append({**row, "kind": kind.value, "version": version, "suffix": suffix})
    ordered = [releases[key] for key in sorted(releases)]
    binary = [any(f["kind"] == "wheel" and not f["suffix"].endswith("-any.whl") for f in files) for files in ordered]
    return ordered, np.array(binary)


def drawn(rng: np.random.Generator, count: int, files: int) -> tuple[np.ndarray, list[list[dict[str, Any]]]]:
    """Draw a captured shape for each of `count` releases, so that they have about `files` files together."""
    ordered, binary = shapes()
    sizes = np.array([len(shape) for shape in ordered], dtype=np.float64)
    pure_weight = np.where(binary, 0, 1 / sizes**2)
    binary_weight = np.where(binary, 1 / sizes, 0)
    pure_weight, binary_weight = pure_weight / pure_weight.sum(), binary_weight / binary_weight.sum()
    pure_mean, binary_mean = (sizes * pure_weight).sum(), (sizes * binary_weight).sum()
    share = min(max((files / count - pure_mean) / (binary_mean - pure_mean), 0.0), 1.0)
    chosen = rng.choice(len(ordered), size=count, p=share * binary_weight + (1 - share) * pure_weight)
    print(f"  {share:.1%} of the releases have platform wheels, {binary_mean:.1f} files each; the others have {pure_mean:.2f}")
    return chosen, ordered


def generate(path: Path, scale: float) -> None:
    """Write the synthetic index."""
    rng = np.random.default_rng(20261122)
    releases, projects = int(RELEASES * scale), max(int(PROJECTS * scale), 1)
    chosen, ordered = drawn(rng, releases, int(FILES * scale))
    weights = rng.lognormal(0, 1.4, projects)
    project_of = np.sort(rng.choice(projects, size=releases, p=weights / weights.sum()))
    position = np.arange(releases) - np.searchsorted(project_of, project_of)
    pool = list(dict.fromkeys(shape[0]["version"] for shape in (ordered[i] for i in rng.permutation(len(ordered)))))
    version_of = (position + rng.integers(0, len(pool), projects)[project_of]) % len(pool)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    names = pa.array([f"{''.join(letters[row])}-{number:06}" for number, row in enumerate(rng.integers(0, 26, (projects, 9)))])
    names = names.take(pc.sort_indices(names))
    versions = pa.array(pool)
    flat = [file for shape in ordered for file in shape]
    files = {
        "suffix": pa.array([f["suffix"] for f in flat]),
        "kind": pa.array([f["kind"] for f in flat]),
        "requires_python": pa.array([f["requires_python"] for f in flat]),
        "yanked": pa.array([f["yanked"] for f in flat]),
        "upload_time": pa.array([f["upload_time"] for f in flat], pa.timestamp("us", tz="UTC")),
    }
    first = np.cumsum([0, *(len(shape) for shape in ordered)])
    schema = pa.schema([SCHEMA.field(name) for name in SCHEMA.names if name in GAP_COLUMNS])
    step = 400_000
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for low in range(0, releases, step):
            part = slice(low, min(low + step, releases))
            lengths = (first[1:] - first[:-1])[chosen[part]]
            release = np.repeat(np.arange(part.start, part.stop), lengths)
            row = np.arange(len(release)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + first[chosen[release]]
            taken = {name: column.take(pa.array(row)) for name, column in files.items()}
            project, version = names.take(pa.array(project_of[release])), versions.take(pa.array(version_of[release]))
            stem = pc.replace_substring(project, "-", "_")
            columns = {
                **taken,
                "project": project,
                "version": version,
                "filename": pc.binary_join_element_wise(pc.binary_join_element_wise(stem, version, "-"), taken["suffix"], ""),
                "project_status": pa.array(["active"] * len(release)),
            }
            writer.write_table(pa.table([columns[name] for name in schema.names], schema=schema), row_group_size=ROW_GROUP)


def measure(path: Path) -> dict[str, Any]:
    """Find every gap, two batches at a time; return counts and costs."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, cores)
    pa.set_cpu_count(len(cores))
    started, processor = time.perf_counter(), time.process_time()
    targets, file = TargetSet(TARGETS), pq.ParquetFile(path)
    counts, releases, files = np.zeros(len(TARGETS), dtype=np.int64), 0, 0
    groups = (file.read_row_group(number, columns=list(GAP_COLUMNS)) for number in range(file.num_row_groups))

    def work(table: pa.Table) -> tuple[list[int], int, int]:
        gaps = find_gaps(table, targets, now=NOW)
        return gaps.counts(len(TARGETS)), len(gaps.missing), len(table)

    with ThreadPoolExecutor(len(cores)) as pool:
        pending = []
        for table in whole_projects(groups):
            pending.append(pool.submit(work, table))
            if len(pending) >= 2 * len(cores):
                pending[-2 * len(cores)].result()
        for future in pending:
            found, some_releases, some_files = future.result()
            counts, releases, files = counts + found, releases + some_releases, files + some_files
    return {
        "seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - processor,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "releases": releases,
        "files": files,
        "gaps": int(counts.sum()),
        "busiest": max(zip(counts.tolist(), (str(t.identifier) for t in TARGETS), strict=True)),
    }


@cache
def specifiers(text: str) -> SpecifierSet | None:
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        return None


def admits(text: str, target: Target) -> bool:
    parsed = specifiers(text)
    python = target.identifier.python.version
    return parsed is None or any(parsed.contains(f"{python}.{patch}") for patch in range(10))


def loop(table: pa.Table) -> tuple[int, float]:
    """The peer: one file after another with packaging. Returns covered (release, target) pairs and its seconds."""
    accepted = [(target, frozenset(accepted_tags(target.identifier, target.floors))) for target in TARGETS]
    rows = table.to_pylist()
    started = time.perf_counter()
    covered: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for row in rows:
        if row["kind"] != "wheel" or row["yanked"]:
            continue
        tags = parse_wheel_filename(row["filename"])[3]
        for number, (target, wanted) in enumerate(accepted):
            if not tags.isdisjoint(wanted) and admits(row["requires_python"], target):
                covered[row["project"], row["version"]].add(number)
    return sum(len(numbers) for numbers in covered.values()), time.perf_counter() - started


def compared(path: Path, size: int) -> tuple[float, int]:
    """Run the loop on a sample of whole projects from the middle; return files per second and the sample's size."""
    file = pq.ParquetFile(path)
    group = file.read_row_group(file.num_row_groups // 2, columns=list(GAP_COLUMNS))
    table = next(whole_projects([group.slice(0, size)]))
    theirs, seconds = loop(table)
    facts = find_gaps(table, TargetSet(TARGETS), now=NOW + timedelta(days=1)).facts
    ours = int(np.unpackbits(facts.covered.view(np.uint8)).sum())
    if ours != theirs:
        raise SystemExit(f"the answers differ on the sample: {ours} covered by kiln, {theirs} by the loop")
    print(f"  on a sample of {len(table):,} files both find the same {ours:,} covered (release, target) pairs")
    return len(table) / seconds, len(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="1.0 is the whole index")
    parser.add_argument("--data", type=Path, help="folder that keeps the synthetic index for the next run")
    parser.add_argument("--sample", type=int, default=40_000, help="files for the loop")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder: Path = options.data or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"index-{options.scale:g}.parquet"
        if not path.exists():
            print("writing the synthetic index")
            partial = path.with_suffix(".partial")
            generate(partial, options.scale)
            partial.rename(path)
        print(f"{path.name}: {pq.ParquetFile(path).metadata.num_rows:,} files, {path.stat().st_size / 1e6:,.0f} MB")
        child = subprocess.run([sys.executable, __file__, "--measure", path], check=True, stdout=subprocess.PIPE, text=True)
        result = json.loads(child.stdout)
        rate, _ = compared(path, options.sample)
    result["times"] = result["files"] / result["seconds"] / rate
    print(
        f"{result['files']:,} files, {result['releases']:,} releases, {len(TARGETS)} targets: {result['gaps']:,} gaps"
        f" (most: {result['busiest'][1]}, {result['busiest'][0]:,})"
    )
    print(
        f"kiln: {result['seconds']:.1f} s ({result['processor_seconds']:.1f} s of two cores), peak {result['gigabytes']:.2f} GB"
    )
    speed = result["files"] / result["seconds"]
    print(f"loop: {rate:,.0f} files/s on one core; kiln: {speed:,.0f} files/s, {result['times']:.0f} times as many")
    kept = (
        result["seconds"] < PROMISES["seconds"]
        and result["gigabytes"] < PROMISES["gigabytes"]
        and result["times"] >= PROMISES["times"]
    )
    print("promises kept" if kept else f"promises broken: {PROMISES}")
    raise SystemExit(not kept)


if __name__ == "__main__":
    main()
