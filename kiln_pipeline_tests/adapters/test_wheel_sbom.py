"""The bill of materials of what a repair step bundled: in the wheel, in RECORD, the same bytes each time."""

import base64
import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest

from kiln_pipeline.adapters.build_tags import add_build_tag
from kiln_pipeline.adapters.wheel_sbom import add_sbom
from kiln_pipeline.core.repair_log import Origin
from kiln_pipeline.core.sbom import BundledLibrary, bundled_libraries
from kiln_pipeline.core.wheel_contents import read_wheel
from kiln_pipeline.errors import BuildError
from kiln_pipeline_tests.fakes import make_wheel

EPOCH = 1_646_123_401
FILES = {
    "pyyaml.libs/libyaml-0-2ba5e3c1.so.2.0.9": b"\x7fELF yaml",
    "pyyaml.libs/libgcc_s-0cd532bd.so.1": b"\x7fELF gcc",
    "yaml/.dylibs/libyaml-0.2.dylib": b"macho",
    "pyyaml.libs/README": b"no library",
    "yaml/_yaml.cpython-311-x86_64-linux-gnu.so": b"\x7fELF its own",
}


def repaired(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    """A wheel as a repair tool leaves it."""
    name, data = make_wheel("pyyaml", "5.4.1", "cp311-cp311-manylinux_2_17_x86_64")
    source, sink = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    lines = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b'=').decode()},{len(text)}\n"
        for path, text in files.items()
    ]
    with zipfile.ZipFile(sink, "w") as target:
        for path, text in files.items():
            target.writestr(zipfile.ZipInfo(path), text)
        for info in source.infolist():
            record = "".join(lines).encode() if info.filename.endswith("/RECORD") else b""
            target.writestr(info, record + source.read(info))
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(sink.getvalue())
    return folder / name


def test_bundled_libraries_are_known_by_name_and_hash():
    """The hash that the repair tool put into the name is no part of it; the extension itself is not bundled."""
    sha256 = {path: hashlib.sha256(data).hexdigest() for path, data in FILES.items()}
    gcc, yaml, dylib = (
        "pyyaml.libs/libgcc_s-0cd532bd.so.1",
        "pyyaml.libs/libyaml-0-2ba5e3c1.so.2.0.9",
        "yaml/.dylibs/libyaml-0.2.dylib",
    )
    assert bundled_libraries(FILES) == (
        BundledLibrary(path=gcc, name="libgcc_s", abi="1", sha256=sha256[gcc]),
        BundledLibrary(path=yaml, name="libyaml-0", abi="2.0.9", sha256=sha256[yaml]),
        BundledLibrary(path=dylib, name="libyaml-0", abi="2", sha256=sha256[dylib]),
    )


@pytest.mark.parametrize(
    ("stated", "licenses"),
    [
        ("mit", [{"expression": "MIT"}]),
        ("GPLv3+ with exceptions", [{"license": {"name": "GPLv3+ with exceptions"}}]),
        ("", None),
    ],
)
def test_a_library_carries_its_packages_version_and_licence(tmp_path: Path, stated: str, licenses: object):
    """As the log names them; a licence that is no SPDX expression is told in its own words."""
    wheel = repaired(tmp_path)
    origin = Origin(package="libyaml", version="0.2.5-1", license=stated, purl="pkg:rpm/almalinux/libyaml@0.2.5-1?arch=x86_64")
    add_sbom(wheel, source_date_epoch=EPOCH, origins={"libyaml-0-2ba5e3c1.so.2.0.9": origin})
    with zipfile.ZipFile(wheel) as archive:
        sbom = json.loads(archive.read("pyyaml-5.4.1.dist-info/sboms/kiln.cdx.json"))
    (yaml,) = (item for item in sbom["components"] if item["bom-ref"] == "file:pyyaml.libs/libyaml-0-2ba5e3c1.so.2.0.9")
    assert (yaml["version"], yaml["purl"], yaml.get("licenses")) == (origin.version, origin.purl, licenses)


def test_a_wheel_that_bundles_lists_it_and_is_still_sound(tmp_path: Path):
    """Twice the same bytes, also through the build tag; and a second time over its own result."""
    for folder in ("one", "two"):
        wheel = repaired(tmp_path / folder)
        assert add_sbom(wheel, source_date_epoch=EPOCH, origins={})
        once = wheel.read_bytes()
        assert add_sbom(wheel, source_date_epoch=EPOCH, origins={})
        assert wheel.read_bytes() == once
        read_wheel(wheel.name, once)
        (tmp_path / f"{folder}.log").touch()
        add_build_tag(wheel, 1, source_date_epoch=EPOCH, log=tmp_path / f"{folder}.log")
    one, two = (next((tmp_path / folder).glob("*.whl")) for folder in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert read_wheel(one.name, one.read_bytes()).extensions == ("pyyaml._speedups", "yaml._yaml")
    assert "listed the bundled libraries" in (tmp_path / "one.log").read_text()
    document = json.loads(zipfile.ZipFile(one).read("pyyaml-5.4.1.dist-info/sboms/kiln.cdx.json"))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    assert document["metadata"]["component"]["purl"] == "pkg:pypi/pyyaml@5.4.1"
    assert [component["name"] for component in document["components"]] == ["libgcc_s", "libyaml-0", "libyaml-0"]
    assert document["dependencies"][0]["dependsOn"] == [component["bom-ref"] for component in document["components"]]


def test_a_wheel_that_bundles_nothing_is_left_alone(tmp_path: Path):
    wheel = repaired(tmp_path / "plain", {"yaml/_yaml.so": b"\x7fELF"})
    before = wheel.read_bytes()
    assert not add_sbom(wheel, source_date_epoch=EPOCH, origins={})
    assert wheel.read_bytes() == before


def test_what_is_no_wheel_is_an_error(tmp_path: Path):
    broken = tmp_path / "pyyaml-5.4.1-cp311-cp311-manylinux_2_17_x86_64.whl"
    broken.write_bytes(b"PK")
    with pytest.raises(BuildError, match="bill of materials"):
        add_sbom(broken, source_date_epoch=EPOCH, origins={})
    assert [path.name for path in tmp_path.iterdir()] == [broken.name]
