"""Enrolled build hosts: who may sign which attempts. Parses ``hosts.toml`` strictly; reads no file and verifies no signature.

    [[hosts]]
    name = "mac-mini-1"
    platforms = ["macosx_arm64", "macosx_x86_64"]
    public-key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="     # Ed25519, the 32 raw bytes in base64
    revoked = 2026-11-30                                            # optional: from then on nothing of it is taken in
    reason = "the disk was sold"                                    # required with `revoked`

A revoked host stays in the file, so that whoever reads it later knows why; one that comes back gets a new name and a new key.
"""

import base64
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import cast

from kiln_pipeline.core.platforms import BuildIdentifier, Platform
from kiln_pipeline.core.provenance.dsse import decode_base64
from kiln_pipeline.core.toml_tables import TableReader
from kiln_pipeline.errors import Problem, RecipeError, VerificationError

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """One build host."""

    name: str
    platforms: tuple[Platform, ...]
    """What it may build for."""
    public_key: bytes
    """The 32 raw bytes of its Ed25519 key."""
    revoked: date | None = None
    reason: str = ""
    """Why it was revoked."""


def admitted(hosts: Mapping[str, Host], name: str, identifier: BuildIdentifier) -> Host:
    """Return the host called `name`, which may build `identifier`. Raises `VerificationError` when it may not."""
    host = hosts.get(name)
    subject = f"build host {name[:100]!r}"
    if host is None:
        raise VerificationError(subject=subject, reason="it is not enrolled", hint="enrol it, or find out who wrote this bundle")
    if host.revoked is not None:
        hint = "build it again on another host"
        raise VerificationError(subject=subject, reason=f"it was revoked on {host.revoked}: {host.reason}", hint=hint)
    if identifier.platform not in host.platforms:
        enrolled = ", ".join(host.platforms)
        reason = f"it is enrolled for {enrolled}, and not for {identifier.platform}"
        raise VerificationError(
            subject=subject, reason=reason, hint="add the platform to its `platforms` if it really builds that"
        )
    return host


def parse_hosts(text: str, file: str) -> Mapping[str, Host]:
    """Parse ``hosts.toml``; `file` names it in errors. Raises `RecipeError` with every problem found."""
    problems: list[Problem] = []
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError([Problem(file=file, field="", message=f"it is no TOML: {error}")]) from None
    top = TableReader(data, file=file, problems=problems)
    top.require("hosts", "write one [[hosts]] for each build host; `kiln host enroll` prints it")
    rows = [(reader, _host(reader)) for reader in top.tables("hosts")]
    top.finish()
    hosts = [host for _, host in rows if host is not None]
    for reader, host in rows:
        if host is not None and [other.name for other in hosts].count(host.name) > 1:
            reader.report("name", f"{host.name!r} is enrolled more than once; a host that comes back gets a new name")
        if host is not None and [other.public_key for other in hosts].count(host.public_key) > 1:
            reader.report("public-key", "is that of another host too; each host makes its own")
    if problems:
        raise RecipeError(problems)
    return {host.name: host for host in hosts}


def enrolment(host: Host) -> str:
    """Return the lines that enrol a host, to be added to ``hosts.toml``."""
    platforms = ", ".join(f'"{platform}"' for platform in host.platforms)
    key = base64.b64encode(host.public_key).decode()
    return f'[[hosts]]\nname = "{host.name}"\nplatforms = [{platforms}]\npublic-key = "{key}"\n'


def _host(reader: TableReader) -> Host | None:
    reader.require("name", "write the name that the host signs with (KILN_HOST there)")
    reader.require("platforms", 'write a list such as ["macosx_arm64"]')
    reader.require("public-key", "`kiln host enroll` on that host prints it")
    name = reader.text("name", _name)
    platforms = reader.texts("platforms", _platform)
    public_key = reader.text("public-key", _public_key)
    revoked = cast("date | None", reader.raw("revoked", "date"))
    reason = reader.text("reason", str)
    if revoked is not None and type(revoked) is not date:
        reader.report("revoked", "is no plain date; write it like 2026-11-30")
    if (revoked is None) != (not reason):
        reader.report("reason", "is needed with `revoked`, and stands only there")
    reader.finish()
    if name is None or platforms is None or public_key is None:
        return None
    if not platforms:
        reader.report("platforms", "is empty: a host that may build nothing has no place here")
    return Host(name=name, platforms=platforms, public_key=public_key, revoked=revoked, reason=reason or "")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no host name: lower-case letters, digits, '.' and '-', 64 at most")
    return text


def _platform(text: str) -> Platform:
    if text not in Platform.__members__.values():
        raise ValueError(f"{text!r} is none of {', '.join(Platform)}")
    return Platform(text)


def _public_key(text: str) -> bytes:
    try:
        key = decode_base64(text, "it", "public-key")
    except VerificationError as error:
        raise ValueError(error.reason) from None
    if len(key) != 32:
        raise ValueError(f"it has {len(key)} bytes; an Ed25519 public key has 32")
    return key
