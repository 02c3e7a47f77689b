"""What is read of a wheel for its page: licence, licence texts, bundled libraries."""

import io
import json
import zipfile

import pytest

from kiln_pipeline.core.package_pages.details import Library, WheelDetails, parse_details, read_details, render_details


def wheel(metadata: str, **members: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("a-1.dist-info/METADATA", metadata)
        for name, text in members.items():
            archive.writestr(name.replace("__", "/"), text)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("License-Expression: MIT\nLicense: GPL\n", "MIT"),
        ("License: BSD-3-Clause\nClassifier: License :: OSI Approved :: BSD License\n", "BSD-3-Clause"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: BSD License\n", "BSD License"),
        ("License: Copyright (c) 2010\n        All rights reserved.\n", ""),
        ("Name: a\n", ""),
    ],
)
def test_the_licence_in_a_line(metadata: str, expected: str):
    """The expression first (PEP 639), then what old metadata says, never a whole text."""
    assert read_details(wheel(metadata)).license == expected


def test_licence_texts_and_libraries_and_the_way_back():
    """Texts stand in ``licenses/`` (PEP 639) or beside METADATA, as wheels had them before; a bill of materials is optional."""
    bill = {
        "components": [
            {"name": "libyaml-0", "version": "0.2.5-1", "purl": "pkg:deb/debian/x", "licenses": [{"license": {"name": "Expat"}}]},
            {"name": "libz"},
        ]
    }
    data = wheel(
        "Name: a\n",
        **{
            "a-1.dist-info__licenses__vendor__COPYING": "text",
            "a-1.dist-info__LICENSE.rst": "BSD",
            "a__LICENSE": "of no dist-info",
            "a-1.dist-info__sboms__kiln.cdx.json": json.dumps(bill),
        },
    )
    details = read_details(data)
    assert details == WheelDetails(
        licenses=(("LICENSE.rst", "BSD"), ("vendor/COPYING", "text")),
        libraries=(
            Library(name="libyaml-0", version="0.2.5-1", license="Expat", purl="pkg:deb/debian/x"),
            Library(name="libz", version="", license="", purl=""),
        ),
    )
    assert parse_details(render_details(details)) == details
