"""Writes the bill of materials of bundled libraries into a finished wheel, and its line into RECORD. Knows no builder."""

import base64
import csv
import hashlib
import io
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

from kiln_pipeline.core.repair_log import Origin
from kiln_pipeline.core.sbom import NAME, bundled_libraries, bundled_paths, render_sbom
from kiln_pipeline.errors import BuildError

_EARLIEST = 315532800
"""1980-01-01, where zip's calendar begins."""


def add_sbom(wheel: Path, *, source_date_epoch: int, origins: Mapping[str, Origin]) -> bool:
    """Add ``.dist-info/sboms/kiln.cdx.json`` to a wheel that bundles libraries; return whether it does.

    `origins` says of which packages the libraries are, by their filenames (`core.repair_log`). A wheel without any is left as it
    is, byte for byte. The same wheel, origins and epoch give the same bytes. Raises `BuildError` when the wheel cannot be
    rewritten.
    """
    aside = wheel.with_name(f".{wheel.name}.sbom")
    try:
        with zipfile.ZipFile(wheel) as source:
            paths = bundled_paths(source.namelist())
            if not paths:
                return False
            record = next(name for name in source.namelist() if name.count("/") == 1 and name.endswith(".dist-info/RECORD"))
            place = f"{record.removesuffix('RECORD')}{NAME}"
            sbom = render_sbom(wheel.name, bundled_libraries({path: source.read(path) for path in paths}, origins))
            with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as target:
                for info in source.infolist():
                    if info.filename not in (record, place):
                        target.writestr(info, source.read(info), info.compress_type)
                for name, data in ((place, sbom), (record, _with_line(source.read(record), place, sbom))):
                    target.writestr(_member(name, source_date_epoch), data, zipfile.ZIP_DEFLATED)
        aside.replace(wheel)
    except (OSError, StopIteration, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise BuildError(subject=wheel.name, reason=f"its bill of materials could not be written: {error!r}") from error
    finally:
        aside.unlink(missing_ok=True)
    return True


def _member(name: str, epoch: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, time.gmtime(max(epoch, _EARLIEST))[:6])
    info.external_attr = 0o100644 << 16
    return info


def _with_line(record: bytes, path: str, data: bytes) -> bytes:
    """Return RECORD with one more line, and that file's old one left out."""
    rows = [row for row in csv.reader(io.StringIO(record.decode("utf-8"), newline="")) if row and row[0] != path]
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([*rows[:-1], [path, f"sha256={digest}", str(len(data))], *rows[-1:]])
    return text.getvalue().encode()
