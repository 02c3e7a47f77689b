"""An `ObjectStore` in a bucket of an S3-compatible service. No knowledge of what keys mean, but for their HTTP headers.

A put is atomic by the service's own promise; a big object becomes visible when its multipart upload is completed. Write-once
is a conditional put, and the answer is not believed: some services ignore the condition, so the key is looked at before and
after. Nothing lists the bucket but `keys`.
"""

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from pathlib import Path
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

    def chunks(self, key: str) -> Iterator[bytes]:
        target = self._target(key)

        def first() -> tuple[bytes, int, str]:
            answer = self._s3.get_object(**target)
            with closing(answer["Body"]) as body:
                return body.read(self._part_size), answer["ContentLength"], answer.get("ETag", "")

        data, size, etag = called(key, first)
        yield data
        offset = len(data)
        while offset < size:
            # of the same object, however long the reader takes: one that was replaced since answers 412
            part = {**target, "Range": f"bytes={offset}-{min(offset + self._part_size, size) - 1}"}
            part |= {"IfMatch": etag} if etag else {}
            data = called(key, lambda part=part: self._s3.get_object(**part)["Body"].read())
            yield data
            offset += len(data)

    def put(self, key: str, data: bytes) -> None:
        self._write(key, _Bytes(data), {})

    def put_many(self, objects: Sequence[tuple[str, bytes]]) -> None:
        """As `put` for each, some at a time; of two with the same key the later one counts."""
        self._parallel([lambda key=key, data=data: self.put(key, data) for key, data in dict(objects).items()])

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self._put_once(key, _Bytes(data))

    def put_file(self, key: str, path: Path) -> bool:
        try:
            with path.open("rb", buffering=0) as file:
                return self._put_once(key, _File(file))
        except OSError as error:
            raise StoreError(key=str(path), reason=f"it cannot be read: {error.strerror or error}") from error

    def _put_once(self, key: str, content: "_Content") -> bool:
        """Write once; a put whose answer was lost and that is tried again finds its own bytes, and returns False."""
        for _ in range(_CONFLICTS):
            with suppress(ObjectNotFound):
                return self._refuse_other(key, content)
            with suppress(ConditionFailed):  # somebody was faster, or is at it just now: look again
                self._write(key, content, {"IfNoneMatch": "*"})
                if self._stated(key) != content.sha256:
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

    def _refuse_other(self, key: str, content: "_Content") -> bool:
        """Return False when the key has the same bytes; raise `ObjectExists` for others, `ObjectNotFound` for none."""
        # by its size first: a HEAD spares the download of what differs anyway
        target = self._target(key)
        size = called(key, lambda: self._s3.head_object(**target))["ContentLength"]
        if size != content.size or self._sha256(key) != content.sha256:
            raise ObjectExists(key)
        return False

    def _stated(self, key: str) -> str:
        """Return the sha256 of an object: the one that its put stated, or else that of its bytes."""
        target = self._target(key)
        try:
            stated = called(key, lambda: self._s3.head_object(**target))["Metadata"].get(_SHA256)
            return stated or self._sha256(key)
        except ObjectNotFound:
            raise StoreError(key=key, reason="the service took it, and does not show it", hint="run it again later") from None

    def _sha256(self, key: str) -> str:
        digest = hashlib.sha256()
        for chunk in self.chunks(key):
            digest.update(chunk)
        return digest.hexdigest()

    def _write(self, key: str, content: "_Content", condition: dict[str, str]) -> None:
        target = self._target(key)
        http = headers(key)
        described: dict[str, Any] = {
            **target,
            "ContentType": http["Content-Type"],
            "CacheControl": http["Cache-Control"],
            "Metadata": {_SHA256: content.sha256},
        }
        if content.size >= self._multipart_from:
            self._write_parts(key, content, described, condition)
        else:
            whole = content.part(0, content.size)
            called(key, lambda: self._s3.put_object(**described, **condition, Body=whole), found=False)

    def _write_parts(self, key: str, content: "_Content", described: dict[str, Any], condition: dict[str, str]) -> None:
        target = self._target(key)
        upload = called(key, lambda: self._s3.create_multipart_upload(**described), found=False)["UploadId"]

        def part(number: int) -> Callable[[], dict[str, Any]]:
            def send() -> dict[str, Any]:
                body = content.part((number - 1) * self._part_size, self._part_size)
                request = {**target, "UploadId": upload, "PartNumber": number, "Body": body}
                return {"PartNumber": number, "ETag": called(key, lambda: self._s3.upload_part(**request), found=False)["ETag"]}

            return send

        try:
            parts = self._parallel([part(number) for number in range(1, -(-content.size // self._part_size) + 1)])
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


class _Bytes:
    """What is put, when it is in memory."""

    def __init__(self, data: bytes) -> None:
        self.size, self._view = len(data), memoryview(data)
        self.sha256 = hashlib.sha256(data).hexdigest()

    def part(self, start: int, size: int) -> bytes:
        return bytes(self._view[start : start + size])


class _File:
    """What is put, when it is in an open file: read part by part, by several threads."""

    def __init__(self, file: io.FileIO) -> None:
        self.size = os.fstat(file.fileno()).st_size
        self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        self._file = file

    def part(self, start: int, size: int) -> bytes:
        pieces: list[bytes] = []
        while size and (piece := os.pread(self._file.fileno(), size, start)):
            pieces.append(piece)
            start, size = start + len(piece), size - len(piece)
        return b"".join(pieces)


_Content = _Bytes | _File
