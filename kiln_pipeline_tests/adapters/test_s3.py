"""What S3 adds to the contract of `test_object_stores.py`: headers, parts, bad answers. Faults come from a stand-in over HTTP."""

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from kiln_pipeline.adapters.s3 import S3Store
from kiln_pipeline.adapters.s3_client import S3Location, connect, parse_location
from kiln_pipeline.errors import ObjectExists, ObjectNotFound, RecipeError, StoreError
from kiln_pipeline_tests.s3_server import S3Server

MIB = 1 << 20


class FaultyServer(ThreadingHTTPServer):
    """An S3 service in a dict that answers as `faults` say, one for each request, and ignores every condition."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.faults: list[str] = []
        self.requests: list[str] = []
        self.on_put: Any = None
        self.endpoint = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FaultyServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        key = unquote(urlsplit(self.path).path).split("/", 2)[2]
        self.server.requests.append(f"{self.command} {key}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault.isdigit():
            self._send(int(fault), b"", {})
        elif " " in fault:
            status, code = fault.split()
            self._send(int(status), f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode(), {})
        elif self.command == "PUT":
            kept = {name: value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")}
            self.server.objects[key] = (body, kept)
            if self.server.on_put:
                self.server.on_put()
            self._send(200, b"", {"ETag": '"x"'})
        elif key not in self.server.objects:
            self._send(404, b"<Error><Code>NoSuchKey</Code></Error>", {})
        else:
            data, kept = self.server.objects[key]
            self._send(200, data, kept, short=fault == "short")

    do_GET = do_HEAD = do_PUT = _answer

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, short: bool = False) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if short else body)
        self.close_connection = short


@pytest.fixture
def faulty() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def store(faulty: FaultyServer) -> S3Store:
    location = S3Location(bucket="b", endpoint_url=faulty.endpoint, access_key="k", secret_key="s", region="us-east-1")
    return S3Store(location, client=connect(location, connections=4, attempts=2))


@pytest.mark.parametrize("fault", ["429", "503 SlowDown", "500 InternalError"])
def test_an_overloaded_service_is_asked_again(store: S3Store, faulty: FaultyServer, fault: str) -> None:
    faulty.faults = [fault]
    store.put("a", b"one")
    assert store.get("a") == b"one"
    assert faulty.requests == ["PUT a", "PUT a", "GET a"]


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (["500", "500"], "a: the service answered 500, several times (run it again later: what was there before is still whole)"),
        (
            ["503 SlowDown", "503 SlowDown"],
            "a: the service answered 503 SlowDown, several times (run it again later: what was there before is still whole)",
        ),
        (
            ["403 AccessDenied"],
            "a: the service denies access (403 AccessDenied) (grant s3:GetObject, s3:PutObject, s3:DeleteObject and "
            "s3:ListBucket (without it an absent object answers 403 too))",
        ),
        (["403 RequestTimeTooSkewed"], "a: this machine's clock is off by too much (set the clock)"),
        (["404 NoSuchBucket"], "a: there is no such bucket (create it, or correct its name)"),
        (["400 Odd"], "a: the service answered 400 Odd: no"),
    ],
)
def test_a_refusal_is_told_with_what_to_do(store: S3Store, faulty: FaultyServer, faults: list[str], message: str) -> None:
    faulty.faults = list(faults)
    with pytest.raises(StoreError) as caught:
        store.put("a", b"one")
    assert str(caught.value) == message
    assert faulty.objects == {}


def test_a_truncated_answer_is_asked_for_again_and_never_believed(store: S3Store, faulty: FaultyServer) -> None:
    store.put("a", b"whole")
    faulty.faults = ["short", "short"]
    assert store.get("a") == b"whole"
    faulty.faults = ["short"] * 4
    with pytest.raises(StoreError, match="broke off 4 times"):
        store.get("a")


def test_a_forbidden_look_is_no_absence(store: S3Store, faulty: FaultyServer) -> None:
    """S3 answers 403 for an absent object to whoever may not list: to read that as absent would overwrite a wheel."""
    for call in (lambda: store.exists("a"), lambda: store.get("a"), lambda: store.put_if_absent("a", b"")):
        faulty.faults = ["403"]
        with pytest.raises(StoreError, match="denies access") as caught:
            call()
        assert not isinstance(caught.value, ObjectNotFound)


def test_a_service_that_ignores_conditions_overwrites_nothing(store: S3Store, faulty: FaultyServer) -> None:
    assert store.put_if_absent("wheels/a.whl", b"one") is True
    with pytest.raises(ObjectExists):
        store.put_if_absent("wheels/a.whl", b"two")
    assert store.get("wheels/a.whl") == b"one"


def test_a_race_on_such_a_service_is_noticed_by_who_lost_it(store: S3Store, faulty: FaultyServer) -> None:
    faulty.on_put = lambda: faulty.objects.update({"wheels/a.whl": (b"theirs", {})})
    with pytest.raises(ObjectExists):
        store.put_if_absent("wheels/a.whl", b"ours")


def test_of_many_the_first_error_is_told_and_the_rest_is_not_begun(store: S3Store, faulty: FaultyServer) -> None:
    faulty.faults = ["403 AccessDenied"] * 500
    with pytest.raises(StoreError, match="denies access"):
        store.put_many([(f"k{number}", b"") for number in range(500)])
    assert len(faulty.requests) < 100


def test_a_service_that_is_not_there_is_told() -> None:
    location = S3Location(bucket="b", endpoint_url="http://127.0.0.1:9", access_key="k", secret_key="s", region="us-east-1")
    with pytest.raises(StoreError, match="cannot be reached"):
        S3Store(location, client=connect(location, connections=1, attempts=1)).get("a")


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/../b", "a/", "a\\b", "a\nb", "\ud800", "x" * 1025])
def test_a_dangerous_key_is_refused(store: S3Store, faulty: FaultyServer, key: str) -> None:
    for call in (store.get, store.exists, store.delete, lambda key: store.put(key, b"")):
        with pytest.raises(StoreError):
            call(key)
    assert faulty.requests == []


def test_a_location_is_parsed() -> None:
    environment = {"KILN_S3_ENDPOINT": "https://s3.example.org", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    location = parse_location("s3://bucket/a/b/", environment, source="KILN_SITE")
    assert location == S3Location(
        bucket="bucket", prefix="a/b/", endpoint_url="https://s3.example.org", access_key="k", secret_key="s"
    )
    assert str(location) == "s3://bucket/a/b/"
    assert parse_location("s3://bucket", {}, source="").prefix == ""
    for url in ("s3://", "https://bucket/a", "s3://user@bucket/a", "s3://bucket/a?b"):
        with pytest.raises(RecipeError):
            parse_location(url, {}, source="KILN_SITE")


@pytest.mark.slow
def test_every_object_has_the_headers_of_the_site(s3_server: S3Server) -> None:
    location = s3_server.new_bucket("site/")
    store = S3Store(location, multipart_from=MIB, part_size=5 * MIB)
    store.put("simple/foo/index.json", b"{}")
    store.put_if_absent("wheels/big.whl", bytes(12 * MIB))
    client = connect(location, connections=1)
    found = {key: client.head_object(Bucket=location.bucket, Key=f"site/{key}") for key in store.keys()}
    assert {key: (head["ContentType"], head["CacheControl"]) for key, head in found.items()} == {
        "simple/foo/index.json": ("application/vnd.pypi.simple.v1+json", "public, max-age=60"),
        "wheels/big.whl": ("application/octet-stream", "public, max-age=31536000, immutable"),
    }


@pytest.mark.slow
def test_a_big_object_goes_in_parts_and_is_written_once(s3_server: S3Server) -> None:
    store = S3Store(s3_server.new_bucket(), multipart_from=MIB, part_size=5 * MIB)
    one = bytes(range(256)) * (12 * 4096) + b"end"
    assert store.put_if_absent("wheels/big.whl", one) is True
    assert store.put_if_absent("wheels/big.whl", one) is False
    with pytest.raises(ObjectExists):
        store.put_if_absent("wheels/big.whl", bytes(len(one)))
    assert store.get("wheels/big.whl") == one


@pytest.mark.slow
def test_two_prefixes_of_a_bucket_are_two_stores(s3_server: S3Server) -> None:
    location = s3_server.new_bucket("a/")
    one, whole = S3Store(location), S3Store(S3Location(**{**_fields(location), "prefix": ""}))
    one.put("k", b"")
    whole.put("ab/k", b"")
    assert (list(one.keys()), list(whole.keys())) == (["k"], ["a/k", "ab/k"])


@pytest.mark.slow
def test_wrong_keys_and_an_absent_bucket_are_told(s3_server: S3Server) -> None:
    location = s3_server.new_bucket()
    for changes, reason in (
        ({"access_key": "other"}, "does not know the access key"),
        ({"secret_key": "other"}, "refuses the signature"),
        ({"bucket": "no-such-bucket"}, "there is no such bucket"),
    ):
        store = S3Store(S3Location(**{**_fields(location), **changes}))
        with pytest.raises(StoreError, match=reason):
            store.put("k", b"")
        with pytest.raises(StoreError):
            store.get("k")


@pytest.mark.slow
def test_more_keys_than_one_page_are_listed(s3_server: S3Server) -> None:
    store = S3Store(s3_server.new_bucket())
    keys = [f"simple/p{number}/index.json" for number in range(1203)]
    store.put_many([(key, b"") for key in keys])
    assert list(store.keys("simple/")) == sorted(keys)


def _fields(location: S3Location) -> dict[str, Any]:
    return {name: getattr(location, name) for name in S3Location.__dataclass_fields__}


def test_without_boto3_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(StoreError, match=r"pip install '.\[s3\]'"):
        S3Store(S3Location(bucket="b")).get("a")


def test_no_secret_is_in_a_location_s_text() -> None:
    location = S3Location(bucket="b", access_key="k", secret_key="hidden", session_token="hidden")
    assert "hidden" not in f"{location!r} {location}"
