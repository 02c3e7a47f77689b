"""How stages' results look in Dagster: column schemas, preview tables, links, data versions. No decisions here."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.rebuilds import Rebuild, tell
from kiln_pipeline.errors import KilnError, ObjectNotFound
from kiln_pipeline.ports import ObjectStore, Progress

OWNERS = ["team:maintainers"]
PREVIEW_ROWS = 50
FAILURE_CLASS = "failure class"
"""Metadata of a failed build: `core.failures.FailureClass`. Alerts are grouped by it."""


class RunProgress:
    """A `Progress` that speaks to Dagster's log of the run, and to the terminal where there is one."""

    def __init__(self, log: dg.DagsterLogManager, terminal: Progress) -> None:
        self._log, self._terminal = log, terminal

    def step(self, text: str) -> None:
        self._log.info(text)
        self._terminal.step(text)


def lineage(
    attempt: Attempt, site_url: str, sdist_urls: Mapping[str, str], rebuilds: Mapping[str, Sequence[Rebuild]]
) -> dict[str, str]:
    """Return an attempt's links, as cells of a table: ``sdist``, ``recipe``, ``attestation``, ``log``, ``rebuild``.

    `rebuilds` are those of each wheel by its filename (`core.rebuilds.rebuilds_by_wheel`); the newest verdict is the one linked.

    Those on the site lead somewhere once the attempt is recorded. An sdist that upstream does not list (an ad-hoc build's, or a
    deleted one) is shown by its hash alone: the attestation has its address.
    """
    sdist, url = f"sha256 {attempt.sdist_sha256[:12]}…", sdist_urls.get(attempt.sdist_sha256)
    proven = (
        site_layout.wheel_provenance(attempt.wheel) if attempt.wheel else site_layout.attempt_statement(attempt.statement_sha256)
    )
    return {
        "sdist": f"[{sdist}]({url})" if url else sdist,
        "recipe": f"sha256 {attempt.recipe_sha256[:12]}…" if attempt.recipe_sha256 else "none: an ad-hoc build",
        "attestation": f"[attestation]({site_url}{proven})",
        "log": f"[log]({site_url}{site_layout.build_log(attempt.log_sha256)})",
        "rebuild": _rebuild(attempt, site_url, rebuilds.get(attempt.wheel, ())),
    }


def _rebuild(attempt: Attempt, site_url: str, rebuilds: Sequence[Rebuild]) -> str:
    if not rebuilds:
        return "not yet" if attempt.wheel else ""
    proof = site_layout.rebuild_provenance(attempt.wheel, len(rebuilds))
    return f"[{tell(rebuilds, attempt.host)}]({site_url}{proof})"


def verdicts(rebuilds: Sequence[Rebuild]) -> dg.MarkdownMetadataValue | str:
    """Return rebuilds as a table."""
    rows = [
        {
            "wheel": rebuild.wheel,
            "verdict": rebuild.verdict,
            "host": rebuild.host,
            "builder": rebuild.builder,
            "when": f"{rebuild.finished:%Y-%m-%d %H:%M}",
            "why": f"{rebuild.obstacle}: {rebuild.reason}" if rebuild.obstacle else "",
        }
        for rebuild in rebuilds
    ]
    return preview(rows, "wheel", "verdict", "host", "builder", "when", "why") if rows else "none"


def sdist_urls(metadata: pa.Table, attempts: Iterable[Attempt]) -> dict[str, str]:
    """Return sha256 -> URL of the attempts' sdists that upstream lists (`release_metadata`)."""
    wanted = pa.array(sorted({attempt.sdist_sha256 for attempt in attempts}), pa.string())
    among = pc.is_in(metadata.column("sha256"), value_set=wanted)  # pyright: ignore[reportAttributeAccessIssue] (made at import)
    rows = metadata.filter(among).select(["sha256", "url"])
    return {row["sha256"]: row["url"] for row in rows.to_pylist()}


def column_schema(schema: pa.Schema) -> dg.TableSchema:
    """Return an Arrow schema as Dagster's table schema."""
    return dg.TableSchema(columns=[dg.TableColumn(name=field.name, type=str(field.type)) for field in schema])


def preview(rows: Iterable[Mapping[str, Any]], *columns: str) -> dg.MarkdownMetadataValue:
    """Return the first rows as a Markdown table of the given columns."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    cut = False
    for number, row in enumerate(rows):
        if number == PREVIEW_ROWS:
            cut = True
            break
        lines.append("| " + " | ".join(_cell(row[column]) for column in columns) + " |")
    return dg.MetadataValue.md("\n".join([*lines, *(["", f"… and more than these {PREVIEW_ROWS}"] if cut else [])]))


def _cell(value: object) -> str:
    return str("" if value is None else value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def data_version(store: ObjectStore, *keys: str) -> dg.DataVersion:
    """Return the sha256 over the named objects; an absent one counts as empty."""
    digest = hashlib.sha256()
    for key in keys:
        try:
            data = store.get(key)
        except ObjectNotFound:
            data = b""
        digest.update(hashlib.sha256(data).digest())
    return dg.DataVersion(digest.hexdigest())


def failure(error: KilnError) -> dg.Failure:
    """Return an error of ours as the run page shows it: the sentence, no stack, no retry."""
    return dg.Failure(description=str(error), metadata={"kind": type(error).__name__}, allow_retries=False)
