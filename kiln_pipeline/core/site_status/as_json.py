"""The status as JSON values: `status/index.json` and `kiln status --json` say the same. No bytes."""

from datetime import datetime
from typing import Any

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.site_status.model import Status
from kiln_pipeline.core.strict_json import format_time


def as_json(status: Status) -> dict[str, Any]:
    """Return everything; times are RFC 3339 in UTC or null, keys of the site relative to its root."""
    return {
        "as_of": _time(status.now),
        "wheels": status.wheels,
        "last_hour": [
            {
                "release": str(attempt.release),
                "identifier": str(attempt.identifier),
                "outcome": str(attempt.outcome),
                "finished": _time(attempt.finished),
                "host": attempt.host,
                "wheel": attempt.wheel,
                "failure": attempt.failure,
                "log": site_layout.build_log(attempt.log_sha256),
            }
            for attempt in status.recent
        ],
        "attempts": [{"span": rate.span, "succeeded": rate.succeeded, "failed": rate.failed} for rate in status.rates],
        "queue": [
            {
                "platform": str(queue.platform),
                "missing": queue.missing,
                "too_new": queue.too_new,
                "too_new_until": _time(queue.too_new_until),
                "failed": queue.failed,
                "next": [
                    {"release": f"{item.project}=={item.version}", "identifier": item.identifier, "reason": item.reason}
                    for item in queue.next
                ],
            }
            for queue in status.queues
        ],
        "failures": [
            {
                "class": group.failure_class,
                "sentence": group.sentence,
                "wheels": len(group.wheels),
                "projects": list(group.projects),
                "due": group.due,
                "next_try": _time(group.next_try),
                "log": site_layout.build_log(group.example.log_sha256),
            }
            for group in status.failures
        ],
        "hosts": [
            {
                "name": host.name,
                "platforms": list(host.platforms),
                "succeeded": host.succeeded,
                "failed": host.failed,
                "last": _time(host.last),
            }
            for host in status.hosts
        ],
        "rebuilds": dict(status.rebuilds),
        "broken": [{"project": project, "since": _time(since), "reason": reason} for project, since, reason in status.broken],
        "log": {"size": status.log.size, "root": status.log.root, "newest": _time(status.log.newest)} if status.log else None,
        "mirror": {
            "finished": _time(status.mirror.finished),
            "projects": status.mirror.projects,
            "wanted": status.mirror.wanted,
            "left": status.mirror.left,
            "failing": [{"project": name, "files": files, "since": _time(since)} for name, files, since in status.mirror.failing],
            "problem": status.mirror.problem,
        }
        if status.mirror
        else None,
    }


def _time(moment: datetime | None) -> str | None:
    return format_time(moment) if moment else None
