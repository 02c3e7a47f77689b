"""What a build log says of the repair step, and what is not taken for it."""

from kiln_pipeline.core.build_plan import UNREPAIRED, Material
from kiln_pipeline.core.repair_log import Origin, bundled_origins, unrepaired_wheel

ORIGIN = (
    '{"file": "libz-eb09ad1d.so.1", "license": "Zlib", "package": "zlib1g", "purl": "pkg:deb/debian/zlib1g@1", "version": "1"}'
)


def test_the_last_wheel_before_a_repair_counts():
    """A ladder's rungs share a log's form; colours of a terminal are no part of it."""
    log = (
        f"kiln: before repair: a-1-cp311-cp311-linux_x86_64.whl sha256={'0' * 64}\n"
        f"\x1b[2mkiln: before repair: b-1-cp311-cp311-linux_x86_64.whl sha256={'1' * 64}\x1b[0m\n"
    )
    expected = Material(name="b-1-cp311-cp311-linux_x86_64.whl", kind=UNREPAIRED, sha256="1" * 64)
    assert unrepaired_wheel(log) == expected
    assert unrepaired_wheel(f"kiln: before repair: ../b.whl sha256={'1' * 64}\n") is None


def test_origins_by_the_librarys_filename():
    """Lines that are no JSON, lack a field, have one more, or another type say nothing."""
    bad = ("{", "{}", ORIGIN.replace('"1"', "1"), ORIGIN.replace("{", '{"more": "", '), "[]")
    log = "".join(f"kiln: bundled: {line}\n" for line in (*bad, ORIGIN))
    expected = {"libz-eb09ad1d.so.1": Origin(package="zlib1g", version="1", license="Zlib", purl="pkg:deb/debian/zlib1g@1")}
    assert bundled_origins(log) == expected
