"""The upstream simple index over HTTP: pages by conditional requests, files checked before they get their name.

What a page means is `core.simple_index.parse`, how a GET is bounded is `adapters.http_get`, and what is done with an answer is
the stages' matter.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pypi_simple
import requests

from kiln_pipeline.adapters.file_download import download
from kiln_pipeline.adapters.http_get import GONE, BrokenOffError, HttpGetter, bounded_session, check_status
from kiln_pipeline.core.distributions import DistributionFile, project_name
from kiln_pipeline.core.simple_index.parse import MAX_BODY, parse_project_page
from kiln_pipeline.errors import ProjectNotFound, UpstreamError
from kiln_pipeline.ports import FetchedPage, unheard

_READING = "1"
"""Raise it when `parse_project_page` reads more or otherwise than before: then every page is read anew."""
_MOST_METADATA = 4 << 20
"""Bytes of a core metadata file, its description included."""
_ACCEPT = "application/vnd.pypi.simple.v1+json"


class SimpleApiUpstream:
    """An `UpstreamIndex` over one endpoint that speaks the simple API's JSON, 1.1 or later. Safe to share between threads."""

    def __init__(
        self,
        endpoint: str = pypi_simple.PYPI_SIMPLE_ENDPOINT,
        *,
        session: requests.Session | None = None,
        timeout: float = 30.0,
        deadline: float = 600.0,
        retries: int = 3,
        backoff: float = 0.5,
        connections: int = 16,
        max_body: int = MAX_BODY,
    ) -> None:
        """Take an endpoint such as ``https://index.example.org/simple/``; ``user:password@`` in it is used, and never shown.

        `timeout` bounds the wait for each part of an answer, `deadline` a whole answer, both in seconds. `retries` and `backoff`
        (seconds before the second retry, doubling; ``Retry-After`` counts up to a minute) hold for a session of its own; a given
        `session` keeps its own adapters. `connections` bounds the open connections, `max_body` a page's bytes.
        """
        session = session or bounded_session(retries=retries, backoff=backoff, connections=connections)
        self._http = HttpGetter(endpoint, session, timeout=timeout, deadline=deadline)
        self._retries, self._max_body = retries, max_body
        self._reading = hashlib.sha256(f"{_READING}\n{self._http.endpoint}".encode()).hexdigest()[:12]

    def project_page(self, project: str, *, validator: str = "") -> FetchedPage | None:
        """Fetch a project page; None when it has not changed since `validator`.

        The validator holds a digest of the body, and the ETag where the server gives one: without ETags the page is fetched,
        and neither parsed nor returned when its bytes are the same. (A serial says less: a page can change under the same one.)
        """
        try:
            project = project_name(project)
        except ValueError as error:
            raise UpstreamError(subject=f"project {project[:120]!a}", reason=str(error)) from None
        known_digest, known_etag = self._known(validator)
        headers = {"Accept": _ACCEPT} | ({"If-None-Match": known_etag} if known_etag else {})
        for attempt in range(self._retries + 1):
            try:
                return self._page(project, headers, known_digest, known_etag)
            except BrokenOffError:
                if attempt == self._retries:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _page(self, project: str, headers: Mapping[str, str], digest: str, etag: str) -> FetchedPage | None:
        subject, url = f"project {project}", f"{self._http.endpoint}{project}/"
        with self._http.answer(subject, url, headers) as response:
            answered = _sound_etag(response.headers.get("ETag", ""))
            if etag and (response.status_code == 304 or (response.status_code == 200 and answered == etag)):
                return None
            if response.status_code in GONE:
                reason = f"upstream has no such project ({response.status_code})"
                raise ProjectNotFound(subject=subject, reason=reason, hint="check the spelling")
            check_status(subject, response)
            body = b"".join(self._http.body(subject, response, self._max_body))
        found = hashlib.sha256(body).hexdigest()
        if found == digest and answered == etag:
            return None
        page = parse_project_page(body, project=project, base_url=url, max_body=self._max_body)
        return FetchedPage(page=page, validator=f"{self._reading} {found} {answered}".rstrip())

    def _known(self, validator: str) -> tuple[str, str]:
        """Return (digest, ETag) of a validator, both empty when it is of another reading or endpoint."""
        reading, _, rest = validator.partition(" ")
        digest, _, etag = rest.partition(" ")
        return (digest, etag) if reading == self._reading else ("", "")

    def download(self, file: DistributionFile, folder: Path, *, received: Callable[[int], None] = unheard) -> Path:
        """Download a file into `folder` under its own filename and return its path (`adapters.file_download`)."""
        return download(file, folder, self._http, retries=self._retries, received=received)

    def core_metadata(self, file: DistributionFile) -> bytes:
        """Fetch the core metadata file of a wheel (PEP 658), and check it against the hash that its page states.

        Raises `UpstreamError`.
        """
        subject = f"core metadata of {file.filename[:120]!a}".replace("'", "")
        for attempt in range(self._retries + 1):
            try:
                with self._http.answer(subject, f"{file.url}.metadata", {"Accept-Encoding": "identity"}) as response:
                    check_status(subject, response)
                    data = b"".join(self._http.body(subject, response, _MOST_METADATA))
                stated = file.core_metadata
                if stated != "true" and hashlib.sha256(data).hexdigest() != stated:
                    raise UpstreamError(subject=subject, reason=f"its sha256 is not {stated}", hint="try again later")
                return data
            except BrokenOffError:
                if attempt == self._retries:
                    raise
        raise AssertionError("the last attempt returns or raises")


def _sound_etag(etag: str) -> str:
    """Return the ETag when it can be sent back and stored, else an empty string."""
    return etag if len(etag) <= 256 and etag.isascii() and etag.isprintable() and etag.strip() == etag else ""
