"""Compare the published pages with the audit log: what either has and the other does not. Changes nothing."""

import json
from collections.abc import Sequence

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.errors import KilnError
from kiln_pipeline.ports import ObjectStore


def compare_index_with_log(
    site: ObjectStore, attempts: Sequence[Attempt], projects: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """Return (filename or page, difference) for every wheel of ours that page and log do not agree about, sorted.

    A wheel of ours is one that a page lists with our attestation. `attempts` are all of the log's.
    """
    logged = {attempt.wheel: attempt for attempt in attempts if attempt.wheel}
    differences: list[tuple[str, str]] = []
    for project in projects:
        key = site_layout.project_json(project)
        try:
            files = json.loads(site.get(key))["files"]
            listed = {str(file["filename"]): str(file["hashes"]["sha256"]) for file in files if "_attestation" in file}
        except (KilnError, ValueError, KeyError, TypeError) as error:
            differences.append((key, f"the page cannot be read: {error}"))
            continue
        for filename, sha256 in listed.items():
            attempt = logged.get(filename)
            if attempt is None:
                differences.append((filename, "it is on a page, and the audit log does not know it"))
            elif attempt.wheel_sha256 != sha256:
                differences.append((filename, f"its page says sha256 {sha256}, the audit log {attempt.wheel_sha256}"))
            elif not site.exists(site_layout.wheel(filename)):
                differences.append((filename, "it is on a page, and the file is gone"))
    return tuple(sorted(differences))
