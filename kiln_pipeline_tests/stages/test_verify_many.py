"""Locks and environments: every wheel of ours in them is verified, each doubt is named, and nothing else is judged."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kiln_pipeline.adapters.environments import installed_distributions
from kiln_pipeline.core import site_layout
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.locked_files import LockedFile
from kiln_pipeline.core.simple_index.render import root_json
from kiln_pipeline.errors import ObjectNotFound, RecipeError, VerificationError
from kiln_pipeline.stages.verify_many import Site, Verdict, verify_installed, verify_locked
from kiln_pipeline_tests.audit_samples import LOG
from kiln_pipeline_tests.stages.test_verify import small_site

BASE = "https://wheels.example.org/"
WRAPT = Release.of("wrapt", "1.14.0")


@pytest.fixture(scope="module")
def published() -> tuple[dict[str, bytes], Attempt]:
    site, attempt = small_site(bulk=3)
    site.put(site_layout.SIMPLE_ROOT_JSON, root_json(["wrapt"]))
    return site.objects, attempt


def site_over(objects: dict[str, bytes]) -> Site:
    def fetch(key: str) -> bytes:
        if key not in objects:
            raise ObjectNotFound(key)
        return objects[key]

    return Site(fetch=fetch, log_key=str(VerifierKey.of(LOG)), base=BASE)


def locked(objects: dict[str, bytes], *files: LockedFile, releases: tuple[Release, ...] = (WRAPT,)) -> tuple[Verdict, ...]:
    return verify_locked(releases, files, site_over(objects))


def test_a_pinned_wheel_of_ours_is_verified(published: tuple[dict[str, bytes], Attempt]):
    """By its hash alone, by its filename, or by its URL; the story ends in the lock."""
    objects, attempt = published
    for file in (
        LockedFile(sha256=attempt.wheel_sha256),
        LockedFile(sha256=attempt.wheel_sha256, filename=attempt.wheel),
        LockedFile(sha256=attempt.wheel_sha256, filename=attempt.wheel, url=f"{BASE}wheels/{attempt.wheel}"),
    ):
        (verdict,) = locked(objects, LockedFile(sha256="0" * 64, filename="wrapt-1.14.0.tar.gz"), file)
        assert (verdict.subject, verdict.doubt) == (attempt.wheel, "")
        assert verdict.story[0][1] == f"{attempt.wheel}, sha256 {attempt.wheel_sha256}"
        assert verdict.story[-1] == ("lock", "pins it with this sha256")


def test_what_is_not_ours_is_not_judged(published: tuple[dict[str, bytes], Attempt]):
    """Another project, another version, another index's file, a wheel of ours that the lock does not pin."""
    objects, attempt = published
    other = LockedFile(sha256="0" * 64, filename="lz4-4.3.2-1-cp311-cp311-macosx_11_0_arm64.whl")
    assert locked(objects, LockedFile(sha256="0" * 64), other, releases=(WRAPT, Release.of("lz4", "4.3.2"))) == ()
    assert locked(objects, LockedFile(sha256=attempt.wheel_sha256), releases=(Release.of("wrapt", "1.15"),)) == ()


def test_a_lock_with_other_bytes_is_refused(published: tuple[dict[str, bytes], Attempt]):
    """Our filename with another hash, and what the lock says comes from us and the log does not know."""
    objects, attempt = published
    (verdict,) = locked(objects, LockedFile(sha256="0" * 64, filename=attempt.wheel))
    assert f"the lock pins {'0' * 64}" in verdict.doubt
    mixed = (LockedFile(sha256=attempt.wheel_sha256), LockedFile(sha256="0" * 64, filename=attempt.wheel))
    assert f"the lock pins {'0' * 64}" in locked(objects, *mixed)[0].doubt
    forged = attempt.wheel.replace("-1-", "-2-")
    (verdict,) = locked(objects, LockedFile(sha256="0" * 64, filename=forged, url=f"{BASE}wheels/{forged}"))
    assert "no such object" in verdict.doubt
    put = {**objects, site_layout.wheel(forged): objects[site_layout.wheel(attempt.wheel)]}
    file = LockedFile(sha256=attempt.wheel_sha256, filename=forged, url=f"{BASE}wheels/{forged}")
    assert [bool(verdict.doubt) for verdict in locked(put, file)] == [False, True]


def test_a_doubt_about_one_does_not_hide_the_others(published: tuple[dict[str, bytes], Attempt]):
    """An altered page, a project without pages: named, each on its own line."""
    objects, attempt = published
    pin = LockedFile(sha256=attempt.wheel_sha256, filename=attempt.wheel)
    (verdict,) = locked({**objects, "simple/wrapt/index.html": b"other"}, pin)
    assert verdict.subject == "simple/wrapt/"
    assert "not the ones that the publisher signed" in verdict.doubt
    del (gone := dict(objects))[site_layout.SIMPLE_ROOT_JSON]
    with pytest.raises(VerificationError, match="missing"):
        locked(gone, pin)


def test_a_wheel_whose_project_left_the_index_is_still_ours(published: tuple[dict[str, bytes], Attempt]):
    """Its pages are gone, so that it cannot be verified in full; it is not passed over."""
    objects, attempt = published
    left = {key: data for key, data in objects.items() if not key.startswith("simple/wrapt/")}
    left[site_layout.SIMPLE_ROOT_JSON] = root_json([])
    (verdict,) = locked(left, LockedFile(sha256=attempt.wheel_sha256, filename=attempt.wheel))
    assert "it is missing" in verdict.doubt


@pytest.fixture(scope="module")
def environment(published: tuple[dict[str, bytes], Attempt], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the published wheel."""
    objects, attempt = published
    folder = tmp_path_factory.mktemp("environment")
    wheel = folder / attempt.wheel
    wheel.write_bytes(objects[site_layout.wheel(attempt.wheel)])
    target = ("--target", str(folder / "target"), "--platform", "macosx_11_0_arm64", "--python-version", "3.11")
    command = [
        sys.executable,
        "-m",
        "pip",
        "--isolated",
        "install",
        "-q",
        "--no-index",
        "--no-deps",
        "--only-binary",
        ":all:",
        *target,
    ]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    subprocess.run([*command, str(wheel)], check=True, env={**clean, "PIP_CONFIG_FILE": os.devnull}, capture_output=True)
    return folder / "target"


def installed(objects: dict[str, bytes], folder: Path) -> tuple[Verdict, ...]:
    return verify_installed(installed_distributions(folder), site_over(objects))


def test_an_installed_wheel_is_compared_file_by_file(published: tuple[dict[str, bytes], Attempt], environment: Path):
    objects, attempt = published
    (verdict,) = installed(objects, environment)
    assert (verdict.subject, verdict.doubt) == (attempt.wheel, "")
    check, fact = verdict.story[-1]
    assert check == "installed"
    assert fact.startswith("4 files as they are in the wheel; ")


def appended(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda folder: (folder / "wrapt" / "__init__.py").write_text("evil = 1\n"), "wrapt/__init__.py has been altered"),
        (lambda folder: next((folder / "wrapt").glob("*.so")).unlink(), ".so is gone"),
        (lambda folder: appended(folder / "wrapt-1.14.0.dist-info" / "RECORD", "wrapt/evil.py,,\n"), "evil.py is not in"),
        (
            lambda folder: (folder / "wrapt-1.14.0.dist-info" / "WHEEL").write_text(
                (folder / "wrapt-1.14.0.dist-info" / "WHEEL").read_text().replace("Build: 1", "Build: 7")
            ),
            "build 7 is installed",
        ),
    ],
)
def test_an_altered_environment_is_refused(
    published: tuple[dict[str, bytes], Attempt], environment: Path, tmp_path: Path, change: Callable[[Path], object], word: str
):
    shutil.copytree(environment, tmp_path / "target")
    change(tmp_path / "target")
    (verdict,) = installed(published[0], tmp_path / "target")
    assert word in verdict.doubt


def test_a_distribution_without_a_build_tag_is_not_ours(
    published: tuple[dict[str, bytes], Attempt], environment: Path, tmp_path: Path
):
    """Built on the spot, or upstream's: nothing of it is claimed."""
    shutil.copytree(environment, tmp_path / "target")
    wheel = tmp_path / "target" / "wrapt-1.14.0.dist-info" / "WHEEL"
    wheel.write_text(wheel.read_text().replace("Build: 1\n", ""))
    assert installed(published[0], tmp_path / "target") == ()


def test_a_folder_without_distributions_is_wrong_input(tmp_path: Path):
    with pytest.raises(RecipeError, match="neither a virtual environment"):
        installed_distributions(tmp_path)
