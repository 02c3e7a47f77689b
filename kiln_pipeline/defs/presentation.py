"""How stages' results look in Dagster: column schemas, preview tables, links, data versions. No decisions here."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg
import pyarrow as pa

from kiln_pipeline.errors import KilnError, ObjectNotFound
from kiln_pipeline.ports import ObjectStore, Progress

OWNERS = ["team:maintainers"]
PREVIEW_ROWS = 50


class RunProgress:
    """A `Progress` that speaks to Dagster's log of the run, and to the terminal where there is one."""

    def __init__(self, log: dg.DagsterLogManager, terminal: Progress) -> None:
        self._log, self._terminal = log, terminal

    def step(self, text: str) -> None:
        self._log.info(text)
        self._terminal.step(text)


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
