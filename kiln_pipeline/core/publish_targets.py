"""Where else the site is published: reads the ``[[publish]]`` of ``kiln.toml`` strictly. Reads no file and connects to nothing.

[[publish]]
name = "wasabi"                                       # names its note of what it has; never give it to another place
to = "s3://bucket/prefix"                             # or a folder, relative to the file
endpoint = "https://s3.eu-central-1.wasabisys.com"    # for S3; without it KILN_S3_ENDPOINT
profile = "wasabi"                                    # for S3: credentials of ~/.aws; without it the AWS_* variables
region = "eu-central-1"                               # for S3; without it AWS_REGION

[[publish]]
name = "releases"
to = "github://owner/repository"                      # its releases page, with the token in GITHUB_TOKEN
endpoint = "https://github.example.org/api/v3"        # for a GitHub of one's own
"""

import re
from dataclasses import dataclass
from functools import partial

from kiln_pipeline.core.toml_tables import TableReader, report_repeated, short_name

_REPOSITORY = re.compile(r"github://[A-Za-z0-9-]+/[A-Za-z0-9._-]+", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishTarget:
    """One place that the site is copied to."""

    name: str
    to: str
    """A folder, ``s3://bucket/prefix`` or ``github://owner/repository``."""
    endpoint: str = ""
    profile: str = ""
    region: str = ""


def read_targets(top: TableReader) -> tuple[PublishTarget, ...]:
    """Return the targets that the top of a ``kiln.toml`` names; every problem is reported to `top`'s."""
    rows = [(reader, _target(reader)) for reader in top.tables("publish")]
    report_repeated(rows, "name", "to")
    return tuple(target for _, target in rows if target is not None)


def _target(reader: TableReader) -> PublishTarget | None:
    reader.require("name", "write a name for it, like wasabi")
    reader.require("to", "write a folder, s3://bucket/prefix or github://owner/repository")
    name, to = reader.text("name", partial(short_name, what="target")), reader.text("to", _place)
    settings = {key: reader.text(key, str) for key in ("endpoint", "profile", "region")}
    for key, value in settings.items():
        kinds = ("s3://", "github://") if key == "endpoint" else ("s3://",)
        if value and to is not None and not to.startswith(kinds):
            reader.report(key, f"is for {' and '.join(kinds)} only")
    reader.finish()
    if name is None or to is None:
        return None
    return PublishTarget(name=name, to=to, **{key: value or "" for key, value in settings.items()})


def _place(text: str) -> str:
    if not text or ("://" in text and not text.startswith("s3://") and not _REPOSITORY.fullmatch(text)):
        raise ValueError(f"{text!r} is neither a folder nor s3://bucket/prefix nor github://owner/repository")
    return text
