"""Make the pages that are about more than one project: home, list, status, feed, PACKAGES.md. Values in, objects out."""

# pyarrow ships no annotations: what its tables give is known to the tests, not to the checker.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
from collections.abc import Mapping, Sequence

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.package_pages.model import Summary
from kiln_pipeline.core.package_pages.values import outcomes
from kiln_pipeline.core.site_status import figures
from kiln_pipeline.core.site_status.as_json import as_json
from kiln_pipeline.core.strict_json import canonical, format_time
from kiln_pipeline.ports import PageTemplates
from kiln_pipeline.stages.project_pages import SiteIdentity
from kiln_pipeline.stages.site_status import SiteStatus

_NEWEST = 50
_ON_HOME = 10
_LISTED = 250
"""Projects on one page of the list: under 100 kB."""
_OFFERED = 500
"""Project names that the search box on the home page knows by itself; beyond these the list's page searches."""


def list_objects(
    summaries: Sequence[Summary],
    attempts: Sequence[Attempt],
    status: SiteStatus,
    templates: PageTemplates,
    identity: SiteIdentity,
) -> dict[str, bytes]:
    """Return the objects by key. `summaries` are sorted by project."""
    tracked: dict[str, list[Attempt]] = {summary.project: [] for summary in summaries}
    for attempt in attempts:
        if attempt.release.project in tracked:
            tracked[attempt.release.project].append(attempt)
    ours = [attempt for own in tracked.values() for attempt in own if attempt.wheel]
    newest = sorted(ours, key=lambda attempt: (attempt.finished, attempt.index), reverse=True)[:_NEWEST]
    values: dict[str, object] = {
        "newest": newest,
        "projects": len(summaries),
        "wheels": len(ours),
        "site_url": identity.url,
        "snippets": templates.snippets(f"{identity.url}simple/"),
        "packages": [(project, list(outcomes(own))) for project, own in tracked.items()],
        "ask_url": identity.ask_url(),
    }
    return {
        site_layout.STYLE: templates.text("style.css") + templates.text("plots.css"),
        **_lists(summaries, values, templates),
        **_status(status, attempts, templates),
        site_layout.FEED: templates.render("feed.atom", values),
        site_layout.PACKAGES_MD: templates.render("PACKAGES.md", values),
        site_layout.HOME: templates.render(
            "home.html",
            {
                **values,
                "newest": newest[:_ON_HOME],
                "names": [summary.project for summary in summaries][: _OFFERED if len(summaries) <= _OFFERED else 0],
                "status": status.status,
                "root": "",
            },
        ),
    }


def _lists(summaries: Sequence[Summary], values: Mapping[str, object], templates: PageTemplates) -> dict[str, bytes]:
    chunks = [summaries[first : first + _LISTED] for first in range(0, len(summaries), _LISTED)] or [summaries]
    rows = [
        {"project": item.project, "counts": item.counts, "newest": format_time(item.newest) if item.newest else None}
        for item in summaries
    ]
    objects = {site_layout.PACKAGES_JSON: canonical({"projects": rows}) + b"\n"}
    pages = [
        (number, chunk[0].project if chunk else "", chunk[-1].project if chunk else "") for number, chunk in enumerate(chunks, 1)
    ]
    for number, chunk in enumerate(chunks, 1):
        more: dict[str, object] = {"summaries": chunk, "number": number, "pages": pages, "root": "../"}
        objects[site_layout.packages_html(number)] = templates.render("packages.html", {**values, **more})
    return objects


def _status(status: SiteStatus, attempts: Sequence[Attempt], templates: PageTemplates) -> dict[str, bytes]:
    now = status.status.now
    drawn = (figures.missing_over_time(status.history, now), figures.success_by_day(attempts), figures.build_times(attempts))
    values: dict[str, object] = {
        "status": status.status,
        "figures": [figure for figure in drawn if figure is not None],
        "root": "../",
    }
    return {
        site_layout.STATUS_JSON: canonical(as_json(status.status)) + b"\n",
        site_layout.STATUS_HTML: templates.render("status.html", values),
    }
