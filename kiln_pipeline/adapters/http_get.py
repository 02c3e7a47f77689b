"""Bounded HTTP GETs to an index that is not trusted. What the bytes mean is `adapters.upstream`'s matter.

The only module that knows `requests`: what it and urllib3 raise becomes an `UpstreamError`. Every answer has a size and a time
limit, redirects stay on the scheme (or go to https), and credentials stay on the endpoint's own host.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException, SSLError, Timeout
from urllib3.util.retry import Retry

from kiln_pipeline.errors import UpstreamError

_RETRIED = (429, 500, 502, 503, 504)
GONE = (404, 410)
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_MAX_RETRY_AFTER = 60.0
_CHUNK = 1 << 18


class HttpGetter:
    """GETs below one endpoint, and of the files that its pages point to. Safe to share between threads."""

    def __init__(self, endpoint: str, session: requests.Session, *, timeout: float, deadline: float) -> None:
        """Take ``user:password@`` out of the endpoint; `timeout` bounds each wait, `deadline` a whole answer, in seconds."""
        url = urlsplit(endpoint if endpoint.endswith("/") else endpoint + "/")
        user, _, host = url.netloc.rpartition("@")
        name, _, password = user.partition(":")
        self.endpoint = urlunsplit(url._replace(netloc=host, query="", fragment=""))
        self._auth = (unquote(name), unquote(password)) if user else None
        self._session, self._timeout, self._deadline = session, timeout, deadline
        self._settings: dict[str, dict[str, Any]] = {}
        self._template: requests.PreparedRequest | None = None

    @contextmanager
    def answer(self, subject: str, url: str, headers: Mapping[str, str]) -> Iterator[requests.Response]:
        """Send a GET and yield the first answer that is no redirect, its body unread; wrap what requests and urllib3 raise."""
        response = self._follow(subject, url, headers)
        try:
            if response.status_code == 304:
                response.raw.drain_conn()  # it has no body: its connection can be used again at once
            yield response
        except (RequestException, urllib3.exceptions.HTTPError) as error:
            raise _wrapped(subject, url, error, self._timeout) from error
        finally:
            response.close()  # a body that was read to its end has given its connection back before

    def _follow(self, subject: str, url: str, headers: Mapping[str, str]) -> requests.Response:
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                response = self._send(url, headers)
                target = response.headers.get("Location", "")
                if response.status_code not in _REDIRECTS or not target:
                    return response
                response.close()
                url = _redirected(subject, url, target)
        except (RequestException, urllib3.exceptions.HTTPError, ValueError) as error:  # ValueError: a URL that is none
            raise _wrapped(subject, url, error, self._timeout) from error
        raise UpstreamError(subject=subject, reason=f"upstream redirected it more than {_MAX_REDIRECTS} times")

    def _send(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        origin = _origin(url)
        settings = self._settings.get(origin)
        if settings is None:  # proxies and certificates, from the environment: once for each host, not for each request
            settings = self._session.merge_environment_settings(url, {}, True, None, None)
            self._settings[origin] = settings
        prepared = self._page_request(url, headers) if url.startswith(self.endpoint) else self._request(url, headers)
        return self._session.send(prepared, timeout=self._timeout, allow_redirects=False, **settings)

    def _page_request(self, url: str, headers: Mapping[str, str]) -> requests.PreparedRequest:
        """Prepare a request below the endpoint from one that was prepared before: half of a small request's work."""
        if self._template is None:
            self._template = self._request(self.endpoint, {})
        prepared = self._template.copy()
        prepared.url = url
        prepared.headers.update(headers)
        return prepared

    def _request(self, url: str, headers: Mapping[str, str]) -> requests.PreparedRequest:
        home = _origin(url) == _origin(self.endpoint)
        # to another host goes not even what a given session would add: None removes a header of the session's
        sent: dict[str, Any] = {**headers} if home else {**headers, "Authorization": None}
        auth = self._auth if home else _anonymous
        return self._session.prepare_request(requests.Request("GET", url, headers=sent, auth=auth))

    def body(self, subject: str, response: requests.Response, limit: int, *, deadline: float | None = None) -> Iterator[bytes]:
        """Yield the decoded body as it arrives, at most `limit` bytes of it and not longer than the deadline, in seconds."""
        raw = cast("urllib3.HTTPResponse", response.raw)
        deadline = self._deadline if deadline is None else deadline
        end = time.monotonic() + deadline
        size = 0
        while chunk := raw.read1(_CHUNK, decode_content=True):
            size += len(chunk)
            if size > limit:
                raise UpstreamError(subject=subject, reason=f"upstream's answer has more than {limit:,} bytes")
            if time.monotonic() > end:
                reason = f"upstream's answer took more than {deadline:g} s"
                raise UpstreamError(subject=subject, reason=reason, hint="try again later", retriable=True)
            yield chunk


class BrokenOffError(UpstreamError):
    """The body ended before its time: asked for again at once, since nothing but the line is at fault."""


class _BoundedRetry(Retry):
    """urllib3's retries; a ``Retry-After`` of hours does not stop the pipeline for hours."""

    def get_retry_after(self, response: urllib3.BaseHTTPResponse) -> float | None:
        seconds = super().get_retry_after(response)
        return None if seconds is None else min(seconds, _MAX_RETRY_AFTER)


def bounded_session(*, retries: int, backoff: float, connections: int) -> requests.Session:
    """Make a session that bounds its connections and asks again when upstream is overloaded or away."""
    retry = _BoundedRetry(total=retries, backoff_factor=backoff, status_forcelist=_RETRIED, raise_on_status=False)
    adapter = HTTPAdapter(pool_connections=4, pool_maxsize=connections, pool_block=True, max_retries=retry)
    session = requests.Session()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _anonymous(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _origin(url: str) -> str:
    scheme, netloc = urlsplit(url)[:2]
    return f"{scheme}://{netloc.lower()}"


def _redirected(subject: str, url: str, target: str) -> str:
    new = urljoin(url, target)
    if urlsplit(new).scheme not in (urlsplit(url).scheme, "https"):
        raise UpstreamError(subject=subject, reason=f"upstream redirected it to {urlsplit(new).scheme or 'nothing'}: refused")
    return new


def check_status(subject: str, response: requests.Response) -> None:
    """Raise `UpstreamError` for any status but 200."""
    status = response.status_code
    if status == 200:
        return
    if status in GONE:
        raise UpstreamError(subject=subject, reason=f"upstream does not have it ({status})", hint="it may have been deleted")
    reason = f"upstream answered {status}"
    if status in (401, 403):
        raise UpstreamError(subject=subject, reason=reason, hint="check the endpoint's user name and password")
    raise UpstreamError(subject=subject, reason=reason, hint="try again later", retriable=status in _RETRIED)


def _wrapped(subject: str, url: str, error: Exception, timeout: float) -> UpstreamError:
    """Say what a foreign exception means. The URL's host is shown, nothing else of it: the rest can hold secrets."""
    cause = getattr(error.args[0], "reason", error) if error.args else error  # requests hides what urllib3 gave up on
    if isinstance(error, ValueError):  # requests' InvalidURL and MissingSchema are ValueErrors too
        return UpstreamError(subject=subject, reason=f"its URL cannot be asked for ({type(error).__name__})")
    host = urlsplit(url).hostname or "upstream"
    refused = isinstance(cause, urllib3.exceptions.NewConnectionError)  # which urllib3 derives from its timeouts
    if isinstance(cause, Timeout | urllib3.exceptions.TimeoutError) and not refused:
        reason = f"{host} did not answer within {timeout:g} s"
        return UpstreamError(subject=subject, reason=reason, hint="try again later", retriable=True)
    if isinstance(cause, SSLError | urllib3.exceptions.SSLError):
        reason = f"{host} shows no certificate that is trusted here"
        return UpstreamError(subject=subject, reason=reason, hint="set REQUESTS_CA_BUNDLE if it has a private authority")
    if isinstance(error, urllib3.exceptions.HTTPError):
        reason = f"{host}'s answer broke off or cannot be decoded"
        return BrokenOffError(subject=subject, reason=reason, hint="try again later", retriable=True)
    return UpstreamError(subject=subject, reason=f"{host} cannot be reached", hint="check the network", retriable=True)
