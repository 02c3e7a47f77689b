"""`kiln rebuild` as a user types it."""

from collections.abc import Callable
from pathlib import Path

from click.testing import Result


def test_what_is_no_wheel_is_refused(kiln: Callable[..., Result], tmp_path: Path) -> None:
    """A lock has many wheels; one is rebuilt at a time."""
    lock = tmp_path / "uv.lock"
    lock.write_text("version = 1\n")
    answer = kiln("rebuild", str(lock))
    assert (answer.exit_code, "give a wheel's path in a site, or its URL" in answer.output) == (2, True)


def test_a_wheel_that_is_in_no_site_is_refused(kiln: Callable[..., Result], tmp_path: Path) -> None:
    """Without its provenance nothing is built."""
    wheel = tmp_path / "wrapt-1.14.0-1-cp311-cp311-macosx_11_0_arm64.whl"
    wheel.write_bytes(b"PK")
    answer = kiln("rebuild", str(wheel))
    assert (answer.exit_code, "does not lie in the wheels/ of a site" in answer.output) == (6, True)
    assert kiln("rebuild", str(tmp_path / "no-such.whl")).exit_code == 6
