"""`kiln host doctor` as a newcomer meets it: every line tells what is, and what is bad makes the exit code."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner

from kiln_pipeline.adapters.host_facts import inbox_facts, oldest_target, upstream_facts
from kiln_pipeline.cli import main
from kiln_pipeline_tests.fakes import MemoryStore


class _Late(BaseHTTPRequestHandler):
    """An index whose clock is an hour behind."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def date_time_string(self, timestamp: float | None = None) -> str:
        return "Wed, 25 Nov 2020 12:00:00 GMT"

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()


@pytest.fixture
def late_upstream() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Late)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/simple/"
    server.shutdown()
    server.server_close()


def test_a_bare_machine_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late_upstream: str) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {
        "KILN_HOME": str(tmp_path / "home"),
        "KILN_HOST": "box",
        "KILN_UPSTREAM": late_upstream,
        "KILN_BROKER": "redis://:secret@127.0.0.1:1/0",
        "KILN_DATABASE": "postgresql+psycopg2://kiln:secret@127.0.0.1:1/kiln",
        "CIBW_CONTAINER_ENGINE": "no-such-engine",
    }
    result = CliRunner(env=settings).invoke(main, ["host", "doctor", "--json", "--platform", "musllinux_x86_64"])
    assert result.exit_code == 4
    levels = {finding["what"]: finding["level"] for finding in json.loads(result.output)}
    assert levels["upstream"] == "ok"
    assert [levels[what] for what in ("builder for musllinux_x86_64", "clock", "broker", "database", "key")] == ["bad"] * 5
    assert levels["inbox"] == "note"
    assert "secret" not in result.output
    assert not (tmp_path / "home" / "keys").exists(), "it makes no key"


def test_enrolled_it_names_the_host_and_its_platforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late_upstream: str
) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner(env={"KILN_HOME": str(tmp_path / "home"), "KILN_HOST": "box", "KILN_UPSTREAM": late_upstream})
    lines = runner.invoke(main, ["host", "enroll", "--platform", "macosx_arm64"]).output
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "hosts.toml").write_text(lines)
    told = runner.invoke(main, ["host", "doctor"]).output
    assert "ok    enrolment: box for macosx_arm64" in told
    assert "ok    key: " in told


def test_platforms_that_are_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["host", "doctor", "--platform", "amiga"])
    assert result.exit_code == 2
    assert "amiga is none of" in result.output


def test_what_the_inbox_lets_a_host_do_is_tried() -> None:
    assert inbox_facts(MemoryStore(), "box").may == ("list", "read", "delete")


def test_a_clock_is_compared_by_the_date_that_upstream_states(late_upstream: str) -> None:
    refusal, offset = upstream_facts(late_upstream)
    assert refusal == ""
    assert offset is not None
    assert offset > 3600
    assert upstream_facts("http://127.0.0.1:1/") == ("ConnectionError", None)


def test_the_oldest_target_is_the_sdks_own_word(tmp_path: Path) -> None:
    settings = tmp_path / "SDKSettings.json"
    settings.write_text('{"SupportedTargets": {"macosx": {"Archs": ["x86_64", "arm64"], "MinimumDeploymentTarget": "10.13"}}}')
    assert oldest_target(settings) == "10.13"
    assert oldest_target(tmp_path / "none.json") is None
