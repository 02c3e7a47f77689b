"""Connections to S3-compatible services, and what their errors mean. The only module that imports boto3 and botocore.

The settings are those of dagster-aws' `S3Resource` (region, endpoint, keys, profile), which is where Dagster's own parts take
them from. The client is made here all the same: that resource can set neither path-style addressing, which services behind
an `endpoint_url` need, nor the size of the connection pool, and it costs two seconds of Dagster in commands that run none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from kiln_pipeline.errors import ObjectNotFound, Problem, RecipeError, StoreError

T = TypeVar("T")

CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 10, 60, 6
_BROKEN_OFF_ATTEMPTS = 4
_LATER = "run it again later: what was there before is still whole"
_GRANT = "grant s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket (without it an absent object answers 403 too)"
_REASONS = {
    "NoSuchBucket": ("there is no such bucket", "create it, or correct its name"),
    "InvalidAccessKeyId": ("the service does not know the access key", "check AWS_ACCESS_KEY_ID and KILN_S3_ENDPOINT"),
    "SignatureDoesNotMatch": ("the service refuses the signature", "check AWS_SECRET_ACCESS_KEY"),
    "RequestTimeTooSkewed": ("this machine's clock is off by too much", "set the clock"),
    "ExpiredToken": ("the session's credentials have expired", "get new ones"),
    "PermanentRedirect": ("the bucket is in another region", "set AWS_REGION to it"),
    "AuthorizationHeaderMalformed": ("the bucket is in another region", "set AWS_REGION to it"),
    "EntityTooLarge": ("the object is larger than the service takes", ""),
    "QuotaExceeded": ("the bucket's quota is used up", "raise it, or remove something"),
    "InsufficientStorage": ("the service has no space left", _LATER),
    "XMinioStorageFull": ("the service has no space left", _LATER),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class S3Location:
    """A place for objects: ``s3://bucket/prefix``, and how to reach its service."""

    bucket: str
    prefix: str = ""
    """Empty, or ending in a slash."""
    endpoint_url: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


def parse_location(url: str, environment: Mapping[str, str], *, source: str, endpoint: str | None = None) -> S3Location:
    """Return what ``s3://bucket/prefix`` means with KILN_S3_ENDPOINT (or `endpoint`) and the AWS_* variables.

    What they leave open boto3 looks up itself: shared files, the machine's role. Raises `RecipeError` that names `source`.
    """
    parts = urlsplit(url)
    prefix = parts.path.strip("/")
    if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc or ":" in parts.netloc or parts.query or parts.fragment:
        raise RecipeError([Problem(file=source, field="", message="write s3://bucket or s3://bucket/prefix, and nothing more")])
    endpoint = endpoint or environment.get("KILN_S3_ENDPOINT") or None
    if endpoint is not None and not endpoint.startswith(("https://", "http://")):
        message = "write the service's address with its scheme, like https://s3.eu-central-1.wasabisys.com"
        raise RecipeError([Problem(file=source, field="KILN_S3_ENDPOINT", message=message)])
    return S3Location(
        bucket=parts.netloc,
        prefix=f"{prefix}/" if prefix else "",
        endpoint_url=endpoint,
        region=environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION"),
        access_key=environment.get("AWS_ACCESS_KEY_ID"),
        secret_key=environment.get("AWS_SECRET_ACCESS_KEY"),
        session_token=environment.get("AWS_SESSION_TOKEN"),
        profile=environment.get("AWS_PROFILE"),
    )


def connect(location: S3Location, *, connections: int, attempts: int = ATTEMPTS) -> Any:
    """Return boto3's client for a location; safe to share between threads. Sends nothing yet.

    Raises `StoreError` when boto3 is not installed or cannot make sense of the settings.
    """
    try:
        import boto3.session
        import botocore.config
        import botocore.exceptions
    except ImportError as error:
        hint = "install kiln with its extra: pip install '.[s3]'"
        raise StoreError(key=str(location), reason="S3 needs boto3, which is not installed", hint=hint) from error
    config = botocore.config.Config(
        retries={"mode": "standard", "total_max_attempts": attempts},  # 429, 500, 502, 503, 504, SlowDown, lost connections
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=connections,
        s3={"addressing_style": "path"},  # a bucket is no host name of a service that runs under its own address
        # not every compatible service takes the newer checksums; the signature covers the body of every put here
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return boto3.session.Session(profile_name=location.profile).client(
            "s3",
            endpoint_url=location.endpoint_url,
            # a service under an address of its own mostly ignores the region, but it is part of every signature
            region_name=location.region or ("us-east-1" if location.endpoint_url else None),
            aws_access_key_id=location.access_key,
            aws_secret_access_key=location.secret_key,
            aws_session_token=location.session_token,
            config=config,
        )
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise StoreError(key=str(location), reason=str(error), hint="check KILN_S3_ENDPOINT and AWS_*") from error


def called(key: str, request: Callable[[], T], *, found: bool = True) -> T:
    """Return what `request` returns, with the errors of botocore and urllib3 as `StoreError` and `ObjectNotFound`.

    An answer that broke off is asked for again, a few times; everything else botocore has tried again already. With `found`
    off, an absent object is no `ObjectNotFound`, since the request was to write.
    """
    import botocore.exceptions as boto
    import urllib3.exceptions

    for attempt in range(1, _BROKEN_OFF_ATTEMPTS + 1):
        try:
            return request()
        except (boto.IncompleteReadError, boto.ResponseStreamingError, urllib3.exceptions.HTTPError) as error:
            if attempt == _BROKEN_OFF_ATTEMPTS:
                reason = f"the service's answer broke off {attempt} times"
                raise StoreError(key=key, reason=reason, hint=_LATER) from error
        except boto.ClientError as error:
            _refuse(key, error, found=found)
        except boto.NoCredentialsError as error:
            hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            raise StoreError(key=key, reason="there are no credentials for S3", hint=hint) from error
        except (boto.SSLError, boto.ProxyConnectionError, boto.EndpointConnectionError) as error:
            hint = "check KILN_S3_ENDPOINT, the network and the certificates"
            raise StoreError(key=key, reason=f"the S3 service cannot be reached ({type(error).__name__})", hint=hint) from error
        except (boto.HTTPClientError, boto.ConnectionError) as error:
            reason = f"the S3 service did not answer in time, several times ({type(error).__name__})"
            raise StoreError(key=key, reason=reason, hint=_LATER) from error
        except boto.BotoCoreError as error:
            raise StoreError(key=key, reason=str(error), hint="check KILN_S3_ENDPOINT and AWS_*") from error
    raise AssertionError("unreachable")


class ConditionFailed(StoreError):
    """The object exists: a conditional put was refused (412), or met another one that is under way (409)."""


def _refuse(key: str, error: Any, *, found: bool) -> NoReturn:
    """Raise what an answer of the service means."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = f"{status} {code}" if code not in ("", str(status)) else str(status)
    if code in _REASONS:
        reason, hint = _REASONS[code]
        raise StoreError(key=key, reason=reason, hint=hint) from error
    if status == 404 and found:
        raise ObjectNotFound(key) from error
    if status == 412 or code in ("PreconditionFailed", "ConditionalRequestConflict"):
        raise ConditionFailed(key=key, reason="it exists already") from error
    if status in (401, 403):
        raise StoreError(key=key, reason=f"the service denies access ({said})", hint=_GRANT) from error
    if status == 429 or status >= 500 or code == "SlowDown":
        reason = f"the service answered {said}, several times"
        raise StoreError(key=key, reason=reason, hint=_LATER) from error
    raise StoreError(key=key, reason=f"the service answered {said}: {_message(error)}") from error


def _message(error: Any) -> str:
    return " ".join(str(error.response.get("Error", {}).get("Message", "")).split())[:300]
