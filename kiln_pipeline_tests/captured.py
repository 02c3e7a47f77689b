"""What the upstream index listed for some forty projects in November 2026: every file, trimmed to what detection reads.

``data/upstream_files.parquet`` has project, filename, requires-python, upload time (seconds) and yanked, in page order. Hashes,
sizes and addresses were left out; here each file gets made-up ones.
"""

import hashlib
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kiln_pipeline.core.distributions import DistributionFile, ProjectPage
from kiln_pipeline.core.simple_index.filenames import parse_filename

PATH = Path(__file__).parent / "data" / "upstream_files.parquet"


@lru_cache(maxsize=1)
def captured() -> pa.Table:
    return pq.read_table(PATH)


@lru_cache(maxsize=4)
def captured_page(project: str) -> ProjectPage:
    """The page of one project; files that kiln does not take are left out."""
    files: list[DistributionFile] = []
    for row in captured().filter(pc.equal(captured().column("project"), project)).to_pylist():
        try:
            kind, version = parse_filename(row["filename"], project)
        except ValueError:
            continue
        files.append(
            DistributionFile(
                filename=row["filename"],
                url=f"https://files.example.org/{row['filename']}",
                kind=kind,
                version=version,
                sha256=hashlib.sha256(row["filename"].encode()).hexdigest(),
                size=len(row["filename"]),
                requires_python=row["requires_python"],
                upload_time=row["upload_time"],
                yanked=row["yanked"],
            )
        )
    assert files, f"{project} was not captured"
    return ProjectPage(project=project, files=tuple(files))
