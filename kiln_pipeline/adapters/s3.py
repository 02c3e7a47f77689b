"""An `ObjectStore` in a bucket of an S3-compatible service. No knowledge of what keys mean, but for their HTTP headers.

A put is atomic by the service's own promise; a big object becomes visible when its multipart upload is completed. Write-once
is a conditional put, and the answer is not believed: some services ignore the condition, so the key is looked at before and
after. Nothing lists the bucket but `keys`.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, TypeVar

from kiln_pipeline.adapters.s3_client import ConditionFailed, S3Location, called, connect
from kiln_pipeline.core.site_layout import headers
from kiln_pipeline.errors import ObjectExists, ObjectNotFound, StoreError

T = TypeVar("T")

THREADS = 16
PART_SIZE = 16 * 1024 * 1024
MULTIPART_FROM = 64 * 1024 * 1024
"""Bytes from which on an object is uploaded in parts of `PART_SIZE`, side by side."""
_MAX_KEY = 1024
"""Bytes of a key, prefix included: S3's own limit."""
_SHA256 = "sha256"
"""Name of the user metadata that a put states its content's hash in: a HEAD then tells whose bytes are there."""
_CONFLICTS = 10
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")


class S3Store:
    """A flat store of bytes below ``s3://bucket/prefix``. Safe with several writers, threads or processes."""

    def __init__(
        self,
        location: S3Location,
        *,
        client: Any = None,
        threads: int = THREADS,
        multipart_from: int = MULTIPART_FROM,
        part_size: int = PART_SIZE,
    ) -> None:
        """Connect on first use. `client` is for tests; parts must have 5 MiB at least, but for the last."""
        self.location = location
        self._client, self._threads = client, threads
        self._multipart_from, self._part_size = multipart_from, part_size

    def __str__(self) -> str:
        return str(self.location)

    def get(self, key: str) -> bytes:
        target = self._target(key)

        def whole() -> bytes:
            # reading to the end is part of the request: botocore raises when fewer bytes come than were announced
            return self._s3.get_object(**target)["Body"].read()

        return called(key, whole)

    def put(self, key: str, data: bytes) -> None:
        self._write(key, data, {})

    def put_many(self, objects: Sequence[tuple[str, bytes]]) -> None:
        """As `put` for each, some at a time; of two with the same key the later one counts."""
        self._parallel([lambda key=key, data=data: self.put(key, data) for key, data in dict(objects).items()])

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write once; a put whose answer was lost and that is tried again finds its own bytes, and returns False."""
        for _ in range(_CONFLICTS):
            with suppress(ObjectNotFound):
                return self._refuse_other(key, data)
            with suppress(ConditionFailed):  # somebody was faster, or is at it just now: look again
                self._write(key, data, {"IfNoneMatch": "*"})
                if self._stated(key) != hashlib.sha256(data).hexdigest():
                    # the service took another writer's object after ours, condition or not
                    raise ObjectExists(key)
                return True
        hint = "wait until the other writer is done, then run it again"
        raise StoreError(key=key, reason="another writer holds this key", hint=hint)

    def exists(self, key: str) -> bool:
        target = self._target(key)
        try:
            called(key, lambda: self._s3.head_object(**target))
        except ObjectNotFound:
            return False
        return True

    def delete(self, key: str) -> None:
        target = self._target(key)
        called(key, lambda: self._s3.delete_object(**target), found=False)

    def keys(self, prefix: str = "") -> Iterator[str]:
        start = len(self.location.prefix)
        found: list[str] = []
        request = {"Bucket": self.location.bucket, "Prefix": self.location.prefix + prefix}
        while True:
            page = called(prefix or str(self.location), lambda: self._s3.list_objects_v2(**request), found=False)
            found += [item["Key"][start:] for item in page.get("Contents", ())]
            if not page.get("IsTruncated"):
                break
            request["ContinuationToken"] = page["NextContinuationToken"]
        # not every service lists in byte order; what ends in a slash is a folder that somebody's browser made
        return iter(sorted((key for key in found if key and not key.endswith("/")), key=str.encode))

    @property
    def _s3(self) -> Any:
        if self._client is None:
            self._client = connect(self.location, connections=self._threads)
        return self._client

    def _target(self, key: str) -> dict[str, str]:
        full = self.location.prefix + key
        if _FORBIDDEN.search(key) or any(part in ("", ".", "..") for part in key.split("/")):
            raise StoreError(key=repr(key), reason="it is no valid key", hint="use relative paths with forward slashes")
        try:
            size = len(full.encode())
        except UnicodeEncodeError as error:
            raise StoreError(key=repr(key), reason="it is no valid key", hint="it is not valid Unicode") from error
        if size > _MAX_KEY:
            raise StoreError(key=key, reason=f"it has {size} bytes, and S3 takes {_MAX_KEY}", hint="use a shorter prefix")
        return {"Bucket": self.location.bucket, "Key": full}

    def _refuse_other(self, key: str, data: bytes) -> bool:
        """Return False when the key has the same bytes; raise `ObjectExists` for others, `ObjectNotFound` for none."""
        # by its size first: a HEAD spares the download of what differs anyway
        target = self._target(key)
        if called(key, lambda: self._s3.head_object(**target))["ContentLength"] != len(data) or self.get(key) != data:
            raise ObjectExists(key)
        return False

    def _stated(self, key: str) -> str:
        """Return the sha256 of an object: the one that its put stated, or else that of its bytes."""
        target = self._target(key)
        try:
            stated = called(key, lambda: self._s3.head_object(**target))["Metadata"].get(_SHA256)
            return stated or hashlib.sha256(self.get(key)).hexdigest()
        except ObjectNotFound:
            raise StoreError(key=key, reason="the service took it, and does not show it", hint="run it again later") from None

    def _write(self, key: str, data: bytes, condition: dict[str, str]) -> None:
        target = self._target(key)
        http = headers(key)
        described: dict[str, Any] = {
            **target,
            "ContentType": http["Content-Type"],
            "CacheControl": http["Cache-Control"],
            "Metadata": {_SHA256: hashlib.sha256(data).hexdigest()},
        }
        if len(data) >= self._multipart_from:
            self._write_parts(key, data, described, condition)
        else:
            called(key, lambda: self._s3.put_object(**described, **condition, Body=data), found=False)

    def _write_parts(self, key: str, data: bytes, described: dict[str, Any], condition: dict[str, str]) -> None:
        target = self._target(key)
        upload = called(key, lambda: self._s3.create_multipart_upload(**described), found=False)["UploadId"]
        view = memoryview(data)

        def part(number: int) -> Callable[[], dict[str, Any]]:
            def send() -> dict[str, Any]:
                body = bytes(view[(number - 1) * self._part_size : number * self._part_size])
                request = {**target, "UploadId": upload, "PartNumber": number, "Body": body}
                return {"PartNumber": number, "ETag": called(key, lambda: self._s3.upload_part(**request), found=False)["ETag"]}

            return send

        try:
            parts = self._parallel([part(number) for number in range(1, -(-len(data) // self._part_size) + 1)])
            complete = {**target, "UploadId": upload, "MultipartUpload": {"Parts": parts}, **condition}
            called(key, lambda: self._s3.complete_multipart_upload(**complete), found=False)
        except BaseException:
            with suppress(StoreError):  # the bucket's rule for unfinished uploads removes it then
                called(key, lambda: self._s3.abort_multipart_upload(**target, UploadId=upload), found=False)
            raise

    def _parallel(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Run the calls, some at a time, and return their results in order; on the first error none is begun any more."""
        if len(calls) < 2:
            return [call() for call in calls]
        self._s3  # noqa: B018 - connect once, before the threads do
        with ThreadPoolExecutor(min(self._threads, len(calls))) as pool:
            futures = [pool.submit(call) for call in calls]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                for future in futures:
                    future.cancel()
            failed = next((error for future in futures if not future.cancelled() and (error := future.exception())), None)
            if failed is not None:
                raise failed
            return [future.result() for future in futures]
