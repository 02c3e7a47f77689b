"""The view of an index that a build gets: what was there on a date, for pips of any age, and what was taken from it on record."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kiln_pipeline.adapters.index_bounds import (
    container_command,
    free_port,
    given_out,
    policy_of,
    requirement,
    serving,
    without_proxy,
)
from kiln_pipeline.adapters.index_view import Policy, render
from kiln_pipeline.core.build_plan import Material
from kiln_pipeline.core.failure_log import classify
from kiln_pipeline.core.strategies import Rung, Strategy
from kiln_pipeline_tests.loopback_upstream import LoopbackUpstream, captured_page, captured_sdists

SDIST = "MarkupSafe-2.0.1.tar.gz"
UPLOADED = "2021-05-18T17:18:22.856620Z"


@pytest.fixture
def upstream() -> Iterator[LoopbackUpstream]:
    page = captured_page("markupsafe")
    with LoopbackUpstream({"markupsafe": page}, captured_sdists()) as server:
        yield server


def entry(**more: Any) -> dict[str, Any]:
    return {"filename": "Demo_Pkg-1.0-py3-none-any.whl", "hashes": {"sha256": "a" * 64}, "upload-time": UPLOADED, **more}


@pytest.mark.parametrize(
    ("policy", "file", "admitted"),
    [
        ({}, entry(), True),
        ({}, {"filename": "x"}, True),
        ({"cutoff": UPLOADED}, entry(), True),
        ({"cutoff": "2021-05-18T17:18:22Z"}, entry(), False),
        ({"cutoff": "2021-05-18T17:18:22.9Z"}, entry(), True),
        ({"cutoff": "2021-05-18T17:18:23Z"}, entry(**{"upload-time": "2021-05-18T17:18:23Z"}), True),
        ({"cutoff": "2030-01-01T00:00:00Z"}, entry(**{"upload-time": None}), False),
        ({"cutoff": "2020-01-01T00:00:00Z", "newer": ("demo-pkg",)}, entry(), True),
        ({"cutoff": "2020-01-01T00:00:00Z", "newer": ("demo",)}, entry(), False),
        ({"cutoff": "2020-01-01T00:00:00Z", "also": ("demo-pkg==1.0",)}, entry(), True),
        ({"cutoff": "2020-01-01T00:00:00Z", "also": ("demo-pkg==1",)}, entry(), False),
        ({"only": ("a" * 64,)}, entry(), True),
        ({"only": ("b" * 64,), "also": ("demo-pkg==1.0",)}, entry(), False),
    ],
)
def test_what_is_there(policy: dict[str, Any], file: dict[str, Any], admitted: bool) -> None:
    """To the microsecond; a file of unknown time is not there when there is a bound; a replay knows hashes only."""
    assert Policy(upstream="http://x/", **policy).admits("demo-pkg", file) == admitted


def test_a_strategy_becomes_a_policy() -> None:
    """Times in UTC."""
    cutoff = datetime(2021, 5, 18, 17, 18, 22, 856620, tzinfo=UTC)
    strategy = Strategy(rung=Rung.NEWER_SETUPTOOLS, cutoff=cutoff, newer=("setuptools",), only=("a" * 64,))
    assert policy_of(strategy, upstream="http://x/", also=("cython==3.0.12",)) == Policy(
        upstream="http://x/", cutoff=UPLOADED, newer=("setuptools",), also=("cython==3.0.12",), only=("a" * 64,)
    )


def test_a_page_says_all_that_installers_need() -> None:
    """PEP 503 with hash, requires-python, yank and metadata; nothing that upstream writes can break out of it."""
    file = entry(**{"requires-python": ">=3.6", "yanked": 'bad "<b>"', "core-metadata": {"sha256": "c" * 64}})
    assert render("/files/demo-pkg/", [file]).decode().splitlines()[1] == (
        f'<a href="/files/demo-pkg/Demo_Pkg-1.0-py3-none-any.whl#sha256={"a" * 64}" data-requires-python="&gt;=3.6"'
        f' data-core-metadata="sha256={"c" * 64}" data-dist-info-metadata="sha256={"c" * 64}"'
        ' data-yanked="bad &quot;&lt;b&gt;&quot;">Demo_Pkg-1.0-py3-none-any.whl</a><br>'
    )


def download(index: str, folder: Path) -> str:
    """Return what pip downloads of markupsafe from `index`, or the end of its error."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-cache-dir", "--no-binary", ":all:",
               "--no-build-isolation", "--index-url", index, "-d", folder, "markupsafe"]  # fmt: skip
    environment = {"PATH": os.defpath, "PIP_CONFIG_FILE": os.devnull, "HOME": str(folder), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return next((path.name for path in folder.iterdir()), done.stderr[-200:]) if folder.is_dir() else done.stderr[-200:]


def test_pip_gets_the_version_of_the_date_and_the_log_the_file(tmp_path: Path, upstream: LoopbackUpstream) -> None:
    """The day of 2.0.1: later versions are not there, and what pip took stands in the log with its hash."""
    log = tmp_path / "log"
    with serving(Policy(upstream=upstream.url, cutoff=UPLOADED), log=log, environment={}) as served:
        index = served.url
        assert download(index, tmp_path / "to") == SDIST
    assert given_out(log.read_text()) == (
        ("markupsafe==2.0.1", "594c67807fb16238b30c44bdf74f36c02cdf22d1c8cda91ef8a0ed8dabf5620a"),
    )


def test_before_the_first_file_there_is_nothing(tmp_path: Path, upstream: LoopbackUpstream) -> None:
    """The page is there, empty, and the log says why pip found nothing; an unknown project is a 404."""
    log = tmp_path / "log"
    with serving(Policy(upstream=upstream.url, cutoff="2001-01-01T00:00:00Z"), log=log, environment={}) as served:
        index = served.url
        assert b"<a " not in urllib.request.urlopen(f"{index}MarkupSafe/").read()
        assert status(f"{index}no-such/") == 404
        assert status(f"{index.replace('simple', 'files')}markupsafe/{SDIST}") == 404
    assert log.read_text() == "kiln: index: no file of markupsafe is within the bounds of this build\n"


@pytest.mark.parametrize("fault", ["html", "malformed", 403])
def test_an_upstream_that_does_not_answer_is_named(tmp_path: Path, upstream: LoopbackUpstream, fault: Any) -> None:
    """The build fails with a line that the classes of failures know as network trouble."""
    upstream.fault("markupsafe", fault)
    log = tmp_path / "log"
    with serving(Policy(upstream=upstream.url), log=log, environment={}) as served:
        index = served.url
        assert status(f"{index}markupsafe/") == 503
    assert log.read_text().startswith("kiln: index: upstream did not answer for markupsafe: ")


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.skipif(sys.platform != "linux", reason="containers are Linux")
def test_the_containers_command_returns_when_the_view_answers(tmp_path: Path, upstream: LoopbackUpstream) -> None:
    """The packed program runs by itself, in the background, under any Python; its record goes to the error stream."""
    port = free_port()
    log = tmp_path / "log"
    command = container_command(Policy(upstream=upstream.url, cutoff=UPLOADED), port)
    environment: Mapping[str, str] = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}"}
    session = f"{command.replace('/tmp/kiln', str(tmp_path / 'kiln'))} && echo ready && sleep 60"
    with log.open("wb") as errors, subprocess.Popen(
        ["/bin/sh", "-c", session], env=environment, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
    ) as shell:  # fmt: skip
        try:
            assert shell.stdout is not None
            assert shell.stdout.readline() == b"ready\n"
            assert download(f"http://127.0.0.1:{port}/simple/", tmp_path / "to") == SDIST
        finally:
            for process in Path("/proc").glob("[0-9]*"):  # in the container it ends with the container
                if str(tmp_path / "kiln-index-view.py").encode() in _command_line(process).split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)
            shell.kill()
    assert [pin for pin, _ in given_out(log.read_text())] == ["markupsafe==2.0.1"]


@pytest.mark.skipif(sys.platform != "linux", reason="containers are Linux")
def test_a_port_that_is_taken_is_the_engines_fault(tmp_path: Path, upstream: LoopbackUpstream) -> None:
    """Where containers share the host's network, two builds can draw the same port: tried again soon, no rung higher."""
    policy = Policy(upstream=upstream.url)
    with serving(policy, log=tmp_path / "log", environment={}) as served:
        index = served.url
        command = container_command(policy, int(index.split(":")[2].split("/")[0]))
        environment = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}"}
        command = command.replace("/tmp/kiln", str(tmp_path / "kiln"))
        done = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, classify(done.stderr).failure_class) == (1, "engine")


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_words_for_the_record() -> None:
    """Wheels and sdists by their release; other files are no distributions."""
    log = (
        f"kiln: index: Cython-0.29.23-py2.py3-none-any.whl sha256={'a' * 64}\n"
        f"x kiln: index: evil-1.tar.gz sha256={'a' * 64}\n"
        f"kiln: index: ruamel.yaml-0.1.tar.gz sha256={'b' * 64}\nkiln: index: odd.exe sha256={'c' * 64}\n"
    )
    assert given_out(log) == (("cython==0.29.23", "a" * 64), ("ruamel-yaml==0.1", "b" * 64))
    assert requirement("cython==0.29.23", "a" * 64) == Material(
        name="cython==0.29.23", kind="build-requirement", uri="pkg:pypi/cython@0.29.23", sha256="a" * 64
    )


def test_the_loopback_needs_no_proxy() -> None:
    """Whatever the host states stays."""
    assert without_proxy({"no_proxy": "intern"})["NO_PROXY"] == "intern,127.0.0.1"
    assert without_proxy({"A": "b"}) == {"A": "b", "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
