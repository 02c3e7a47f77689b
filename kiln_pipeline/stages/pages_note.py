"""What the last run of the pages for people wrote, kept in the state: what is unchanged is not made again, drift is noticed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kiln_pipeline.core.package_pages.model import Summary
from kiln_pipeline.core.strict_json import canonical
from kiln_pipeline.errors import ObjectNotFound
from kiln_pipeline.ports import ObjectStore

MANIFEST = "package_pages.json"
"""Key in the state. Deleting it has every page written anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Noted:
    """One project."""

    inputs: str
    """Hash of everything that its pages are made of; empty when something was not on the site, and they are to be made again."""
    summary: Summary
    objects: Mapping[str, str]
    """Key -> lower-case hex sha256 of what is on the site."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PagesNote:
    """All of them."""

    projects: Mapping[str, Noted] = field(default_factory=dict[str, Noted])
    lists: Mapping[str, str] = field(default_factory=dict[str, str])
    """As `Noted.objects`, for what is about more than one project."""


def noted_objects(state: ObjectStore) -> dict[str, str]:
    """Return key -> lower-case hex sha256 of everything that the last run left on the site; nothing before the first one."""
    noted = read_note(state)
    return {key: sha256 for item in noted.projects.values() for key, sha256 in item.objects.items()} | dict(noted.lists)


def write_note(noted: PagesNote, state: ObjectStore) -> None:
    """Keep a note. Raises `StoreError`."""
    rows = {
        project: {
            "inputs": item.inputs,
            "reason": item.summary.reason,
            "counts": item.summary.counts,
            "newest": item.summary.newest.isoformat() if item.summary.newest else None,
            "objects": item.objects,
        }
        for project, item in noted.projects.items()
    }
    state.put(MANIFEST, canonical({"projects": rows, "lists": noted.lists}))


def read_note(state: ObjectStore) -> PagesNote:
    """Return what was noted; nothing when it cannot be read: every page is then written anew."""
    try:
        document: dict[str, Any] = json.loads(state.get(MANIFEST))
        projects = {
            project: Noted(
                inputs=row["inputs"],
                summary=Summary(
                    project=project,
                    reason=row["reason"],
                    counts=row["counts"],
                    newest=datetime.fromisoformat(row["newest"]) if row["newest"] else None,
                ),
                objects=row["objects"],
            )
            for project, row in document["projects"].items()
        }
        return PagesNote(projects=projects, lists=document["lists"])
    except (ObjectNotFound, ValueError, KeyError, TypeError, AttributeError):
        return PagesNote()
