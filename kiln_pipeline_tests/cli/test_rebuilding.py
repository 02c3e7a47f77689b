"""`kiln rebuild` as a user types it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from kiln_pipeline.core import site_layout
from kiln_pipeline_tests.audit_samples import LOG
from kiln_pipeline_tests.stages.test_verify import small_site


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


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A wheel for a Mac in a published site, in a folder."""
    store, attempt = small_site(bulk=0)
    for key, data in store.objects.items():
        (tmp_path / "home" / "site" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "home" / "site" / key).write_bytes(data)
    return tmp_path / "home" / "site" / site_layout.wheel(attempt.wheel)


@pytest.mark.skipif(sys.platform != "linux", reason="on a Mac it would be built")
def test_what_this_host_cannot_build_is_told_with_the_reason_and_not_recorded(
    kiln: Callable[..., Result], published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 12, on paper and as JSON; on our own site and on somebody else's."""
    answer = kiln("rebuild", str(published))
    assert answer.exit_code == 12
    assert "not rebuildable: other-platform: macosx_arm64 wheels can only be built on a Mac" in answer.stdout
    assert "not recorded: nothing was tried on this host" in answer.stdout
    monkeypatch.setenv("KILN_HOME", "elsewhere")
    answer = kiln("rebuild", str(published), "--json")
    told = json.loads(answer.stdout)
    assert (told["verdict"], told["obstacle"], told["rebuilt"]) == ("not-rebuildable", "other-platform", None)
    assert told["record"] == f"not recorded: {LOG.name} is not the log of this workspace's site"


def test_what_does_not_verify_is_not_built(kiln: Callable[..., Result], published: Path) -> None:
    """Exit code 6, before anything runs."""
    published.write_bytes(published.read_bytes()[:-1] + b"x")
    answer = kiln("rebuild", str(published))
    assert (answer.exit_code, "its provenance is of another file" in answer.stderr) == (6, True)
