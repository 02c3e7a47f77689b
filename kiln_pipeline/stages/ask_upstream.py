"""Ask upstream for many projects at once, some pages ahead. What the answers change is `stages.detect`'s matter."""

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from kiln_pipeline.errors import UpstreamError
from kiln_pipeline.ports import FetchedPage, UpstreamIndex

_OUTAGE = 48
"""So many failures in a row that may pass by themselves are one: upstream is down, and the rest is not asked."""
_WINDOW = 8
"""Requests handed out ahead, per worker."""

Answer = FetchedPage | UpstreamError | None
"""A page that changed, the reason why there is none, or None for one that did not change."""


def answers(
    projects: Sequence[str],
    validators: Mapping[str, str],
    upstream: UpstreamIndex,
    workers: int,
    *,
    patience: float | None = None,
) -> Generator[tuple[str, Answer]]:
    """Yield each project with its answer, in order, `workers` requests at a time and no more pages held than a window's.

    Nobody waits more than `patience` seconds for one of them; None: as long as the adapter does.
    """

    def ask(project: str) -> Answer:
        try:
            return upstream.project_page(project, validator=validators.get(project, ""))
        except UpstreamError as error:
            return error

    executor = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="upstream")
    window: deque[tuple[str, Future[Answer]]] = deque()
    rest = iter(projects)
    failures = 0
    try:
        while failures < _OUTAGE:
            window.extend((project, executor.submit(ask, project)) for project in islice(rest, _WINDOW * workers - len(window)))
            if not window:
                return
            project, future = window.popleft()
            answer = _result(project, future, patience)
            failures = failures + 1 if isinstance(answer, UpstreamError) and answer.retriable else 0
            yield project, answer
        for project, future in window:
            yield project, _not_asked(project) if future.cancel() else future.result()
        for project in rest:
            yield project, _not_asked(project)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _result(project: str, future: Future[Answer], patience: float | None) -> Answer:
    try:
        return future.result(timeout=patience)
    except TimeoutError:
        reason = f"upstream did not answer within {patience:g} s"
        return NoAnswer(subject=f"project {project}", reason=reason, hint="try again later", retriable=True)


class NoAnswer(UpstreamError):
    """Upstream took the connection and said nothing for as long as anybody waits."""


def _not_asked(project: str) -> UpstreamError:
    reason = f"not asked, since upstream failed {_OUTAGE} times in a row"
    return UpstreamError(subject=f"project {project}", reason=reason, hint="try again later", retriable=True)
