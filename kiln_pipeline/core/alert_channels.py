"""Whom to tell what is wrong: reads the ``[[alerts]]`` of ``kiln.toml`` strictly. Reads no file and tells nobody.

[[alerts]]
name = "team"                                         # names its note of what it was told
to = "$TEAM_WEBHOOK"                                  # a variable that holds the address, or the address itself
every = 60                                            # minutes between two messages on the same thing

[[alerts]]
name = "mail"
to = "mailto:maintainers@example.org"
from = "kiln@example.org"
smtp = "smtp://kiln@mail.example.org:587"             # smtps:// for TLS from the start; the password in KILN_SMTP_PASSWORD
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit

from kiln_pipeline.core.toml_tables import TableReader, report_repeated, short_name

MAIL = "mailto:"
_VARIABLE = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_ADDRESS = re.compile(r"[^\s@<>,;:\"]+@[^\s@<>,;:\"]+", re.ASCII)
_HOUR = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertChannelSettings:
    """One place that is told."""

    name: str
    to: str
    """``https://…``, ``$VARIABLE`` that holds such an address, or ``mailto:address``."""
    every: timedelta = timedelta(minutes=_HOUR)
    sender: str = ""
    smtp: str = ""


def read_channels(top: TableReader) -> tuple[AlertChannelSettings, ...]:
    """Return the channels that the top of a ``kiln.toml`` names; every problem is reported to `top`'s."""
    rows = [(reader, _channel(reader)) for reader in top.tables("alerts")]
    report_repeated(rows, "name")
    return tuple(channel for _, channel in rows if channel is not None)


def _channel(reader: TableReader) -> AlertChannelSettings | None:
    reader.require("name", "write a name for it, like team")
    reader.require("to", "write the address of a webhook, $VARIABLE that holds it, or mailto:address")
    name, to = reader.text("name", partial(short_name, what="channel")), reader.text("to", _place)
    every = reader.integer("every")
    sender, smtp = reader.text("from", _address), reader.text("smtp", _smtp)
    if every is not None and not 1 <= every <= 7 * 24 * _HOUR:
        reader.report("every", f"{every} is out of range: write minutes, 1 to {7 * 24 * _HOUR}")
    mail = to is not None and to.startswith(MAIL)
    for key, what in (("from", "the address that sends"), ("smtp", "the mail server, like smtp://mail.example.org:587")):
        if mail:
            reader.require(key, f"write {what}")
        elif to is not None and key in reader:
            reader.report(key, "is for mailto: only")
    reader.finish()
    if name is None or to is None:
        return None
    minutes = timedelta(minutes=every if every is not None and 1 <= every <= 7 * 24 * _HOUR else _HOUR)
    return AlertChannelSettings(name=name, to=to, every=minutes, sender=sender or "", smtp=smtp or "")


def _place(text: str) -> str:
    if text.startswith(MAIL):
        return MAIL + _address(text.removeprefix(MAIL))
    if _VARIABLE.fullmatch(text) or is_webhook(text):
        return text
    raise ValueError("is neither https://… nor $VARIABLE nor mailto:address")  # not the text: it may hold a secret


def is_webhook(text: str) -> bool:
    """Return whether that is the address of a web server."""
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and not re.search(r"\s", text)
    except ValueError:
        return False


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise ValueError(f"{text!r} is no mail address")
    return text


def _smtp(text: str) -> str:
    try:
        url = urlsplit(text)
        fits = url.scheme in ("smtp", "smtps") and bool(url.hostname) and url.port != 0 and url.path in ("", "/")
        fits = fits and not url.password
    except ValueError:
        fits = False
    if not fits:
        raise ValueError("is no mail server: write smtp://[user@]host[:port], or smtps://…; the password in KILN_SMTP_PASSWORD")
    return text
