"""Dated views: take one of what is published just now, list them, remove them. Reads pages, and writes only below ``simple@…/``.

The legal order of writes: the states of pages that no other view has, the attestation, the manifest; a removal goes the other
way. The state notes before the first write that something is under way, and what is being removed: whatever was cut off is
finished by the next `take_view` or `remove_views`, and a view that readers may have seen is never changed, only removed whole.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.dated_views import DatedView, expired, read_view, root_digest, view_statement, write_view
from kiln_pipeline.core.provenance.dsse import sign_envelope
from kiln_pipeline.core.simple_index import manifest
from kiln_pipeline.core.strict_json import canonical
from kiln_pipeline.errors import ObjectNotFound, Problem, RecipeError, StoreError
from kiln_pipeline.ports import ObjectStore, Progress, Signer
from kiln_pipeline.stages.page_writer import read_unfinished
from kiln_pipeline.stages.verify_views import check_view

KEY = "dated_views.json"
"""Key in the state: which views there are, and what is under way."""
_VIEWS = "simple@"
_TOGETHER = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewReport:
    """What taking a view did."""

    view: DatedView
    taken: bool
    """False when the day had its view already: that one stays as it is."""
    written: int = 0
    """Projects whose pages no earlier view had."""
    written_bytes: int = 0


@dataclass(kw_only=True, slots=True)
class Noted:
    """What the state says of the views."""

    days: dict[date, str] = field(default_factory=dict[date, str])
    """Day -> sha256 of its manifest."""
    removing: list[date] = field(default_factory=list[date])
    unfinished: bool = False


def take_view(day: date, *, today: date, site: ObjectStore, state: ObjectStore, signer: Signer, progress: Progress) -> ViewReport:
    """Make the published index the view of `day`, at most `today` (UTC) and after the newest view; nothing when it has one.

    `signer` holds the log's key. Raises `RecipeError` for a day that cannot be taken any more, `StoreError` while a publish is
    unfinished or when the site has other pages than were published.
    """
    noted = _recovered(site, state, signer.public_key)
    if day in noted.days:
        return ViewReport(view=read_published(site, day), taken=False)
    newest = max(noted.days, default=date.min)
    if not newest < day <= today:
        earlier = f"the newest view is of {newest}, and pages of today are not those of an earlier day"
        message = f"{day} has not come yet" if day > today else earlier
        raise RecipeError([Problem(file="--date", field="", message=message)])
    entries = _published(state)
    root = root_digest(entries[manifest.ROOT].html, entries[manifest.ROOT].json)
    pages = {project: entry.attestation.hex() for project, entry in entries.items() if project and entry.attestation}
    view = DatedView(day=day, root=root, pages=pages)
    known = read_published(site, newest) if noted.days else DatedView(day=day, root="", pages={})
    changed = [project for project, digest in pages.items() if known.pages.get(project) != digest]
    progress.step(f"simple@{day}: {len(changed)} of {len(pages)} projects changed since the view before")
    noted.unfinished = True
    _note(noted, state)
    states = [("", root)] * (known.root != root) + [(project, pages[project]) for project in changed]
    size = 0
    for start in range(0, len(states), _TOGETHER):
        size += _copy(states[start : start + _TOGETHER], entries, site)
    text = write_view(view)
    site.put(site_layout.view_attestation(day), sign_envelope(view_statement(text, day), [signer]))
    site.put(site_layout.view_manifest(day), text)
    noted.days[day], noted.unfinished = hashlib.sha256(text).hexdigest(), False
    _note(noted, state)
    return ViewReport(view=view, taken=True, written=len(changed), written_bytes=size + len(text))


def take_and_retain(
    day: date,
    *,
    today: date,
    keep_days: int | None,
    site: ObjectStore,
    state: ObjectStore,
    signer: Signer,
    progress: Progress,
) -> tuple[ViewReport, tuple[date, ...]]:
    """Take a view, then remove those that retention does not keep (`core.dated_views.expired`); None keeps all."""
    report = take_view(day, today=today, site=site, state=state, signer=signer, progress=progress)
    if keep_days is None:
        return report, ()
    old = expired(noted_views(site, state).days, today, keep_days=keep_days)
    remove_views(old, site=site, state=state, log_key=signer.public_key, progress=progress)
    return report, old


def remove_views(days: Collection[date], *, site: ObjectStore, state: ObjectStore, log_key: bytes, progress: Progress) -> int:
    """Remove views, and the pages that no other one shows; return how many objects that were.

    `log_key` is the raw public key that signs views. Raises `RecipeError` when there is no view of a day.
    """
    noted = _recovered(site, state, log_key)
    problems = [Problem(file=f"simple@{day}", field="", message="is no view") for day in days if day not in noted.days]
    if problems:
        raise RecipeError(problems)
    if not days:
        return 0
    progress.step(f"dated views: removing {len(days)} of {len(noted.days)}")
    gone = set[str]().union(*(read_published(site, day).keys() for day in days))
    noted.removing, noted.unfinished = sorted(days), True
    noted.days = {day: sha256 for day, sha256 in noted.days.items() if day not in days}
    _note(noted, state)
    return _finish_removal(noted, gone, site, state)


def list_views(site: ObjectStore, state: ObjectStore) -> tuple[DatedView, ...]:
    """Return the views, oldest first. Raises `StoreError` or `VerificationError` when one cannot be read."""
    return tuple(read_published(site, day) for day in sorted(noted_views(site, state).days))


def _published(state: ObjectStore) -> dict[str, manifest.Entry]:
    """Return what the last publish left. Raises `StoreError` when it did not finish, or there was none."""
    hint = "run the publish again, then take the view"
    if read_unfinished(state) is not None:
        raise StoreError(key=manifest.KEY, reason="a publish has not finished", hint=hint)
    try:
        entries = manifest.read_manifest(state.get(manifest.KEY))
    except ObjectNotFound:
        entries = {}
    if manifest.ROOT not in entries:
        raise StoreError(key=site_layout.SIMPLE_ROOT_JSON, reason="the site has no index", hint="publish it first")
    return entries


def _copy(states: Sequence[tuple[str, str]], entries: Mapping[str, manifest.Entry], site: ObjectStore) -> int:
    """Copy live pages to where their states lie; return how many bytes. Raises `StoreError` for pages that are not as noted."""
    objects: list[tuple[str, bytes]] = []
    for project, digest in states:
        entry = entries[project]
        expected = zip(manifest.page_keys(project), (entry.html, entry.json, entry.attestation), strict=False)
        for key, sha256 in expected:
            data = site.get(key)
            if hashlib.sha256(data).digest() != sha256:
                hint = "`kiln index check --mend` writes it anew"
                raise StoreError(key=key, reason="it is not what was published", hint=hint)
            objects.append((site_layout.page_state(digest, project, key.rpartition("/")[2]), data))
    site.put_many(objects)
    return sum(len(data) for _, data in objects)


def read_published(site: ObjectStore, day: date) -> DatedView:
    try:
        return read_view(site.get(site_layout.view_manifest(day)), day)
    except ObjectNotFound as error:
        hint = "restore it from a backup: it is what frozen builds rely on"
        raise StoreError(key=site_layout.view_manifest(day), reason="the site does not have it", hint=hint) from error


def noted_views(site: ObjectStore, state: ObjectStore) -> Noted:
    """Return what the state notes; after a lost state, that everything on the site has to be looked at."""
    try:
        value = json.loads(state.get(KEY))
        return Noted(
            days={date.fromisoformat(day): str(sha256) for day, sha256 in value["days"].items()},
            removing=[date.fromisoformat(day) for day in value["removing"]],
            unfinished=bool(value["unfinished"]),
        )
    except ObjectNotFound:
        return Noted(unfinished=any(True for _ in site.keys(_VIEWS)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "delete it: it is made anew from the signed views on the site"
        raise StoreError(key=KEY, reason=f"it is no list of views: {error}", hint=hint) from error


def _note(noted: Noted, state: ObjectStore) -> None:
    days = {str(day): sha256 for day, sha256 in noted.days.items()}
    value = {"days": days, "removing": [str(day) for day in noted.removing], "unfinished": noted.unfinished}
    state.put(KEY, canonical(value))


def _recovered(site: ObjectStore, state: ObjectStore, log_key: bytes) -> Noted:
    """Return what there is, after finishing what was cut off: only then is the site listed."""
    noted = noted_views(site, state)
    if not noted.unfinished:
        return noted
    found = set(site.keys(_VIEWS))
    for key in found:
        name = key.partition("/")[0].removeprefix(_VIEWS)
        if key.endswith(f"/{site_layout.VIEW_MANIFEST}") and (day := date.fromisoformat(name)) not in noted.removing:
            # readers may have seen it: it stands, unless nobody signed it
            check_view(day, fetch=site.get, log_key=log_key)
            noted.days[day] = hashlib.sha256(site.get(key)).hexdigest()
    _finish_removal(noted, found, site, state)
    return noted


def _finish_removal(noted: Noted, candidates: Collection[str], site: ObjectStore, state: ObjectStore) -> int:
    """Delete those of `candidates` that no view owns, manifests first; return how many."""
    owned = set[str]().union(*(read_published(site, day).keys() for day in noted.days))
    gone = sorted(set(candidates) - owned, key=lambda key: (not key.endswith(f"/{site_layout.VIEW_MANIFEST}"), key))
    for key in gone:
        site.delete(key)
    noted.removing, noted.unfinished = [], False
    _note(noted, state)
    return len(gone)
