"""Child processes: what they see, what is logged, and that none is left behind."""

import _thread
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from kiln_pipeline.adapters.processes import ProcessStopped, capture, passed_through, run_logged
from kiln_pipeline.errors import BuildError

# A child that starts a grandchild (which ignores SIGINT, as a compiler in the middle of a write may) and writes its pid.
FAMILY = """
import pathlib, subprocess, sys, time
code = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", code])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
{then}
"""


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie, which waits for its new parent to look, has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def run_family(tmp_path: Path, then: str, timeout: float | None = 30) -> int:
    command = [sys.executable, "-I", "-S", "-c", FAMILY.format(then=then), str(tmp_path / "pid")]
    return run_logged(command, cwd=tmp_path, environment={}, log=tmp_path / "log", timeout=timeout)


def test_a_child_gets_exactly_the_stated_environment(tmp_path: Path) -> None:
    """Not one variable of this process, and no terminal to ask on."""
    code = "import os, sys; print(sorted(k for k in os.environ if k != 'LC_CTYPE'), repr(sys.stdin.read()))"
    log = tmp_path / "log"
    status = run_logged([sys.executable, "-I", "-c", code], cwd=tmp_path, environment={"A": "1"}, log=log)
    assert (status, log.read_text().splitlines()[-1]) == (0, "['A'] ''")


def test_output_is_appended_after_the_command_in_order(tmp_path: Path) -> None:
    """Both streams, one file; the exit status is handed back."""
    log = tmp_path / "log"
    log.write_text("before\n")
    status = run_logged(["sh", "-c", "echo out; echo err >&2; exit 3"], cwd=tmp_path, environment={"PATH": os.defpath}, log=log)
    assert (status, log.read_text()) == (3, "before\nkiln: $ sh -c 'echo out; echo err >&2; exit 3'\nout\nerr\n")


def test_a_child_that_takes_too_long_is_stopped_with_its_children(tmp_path: Path) -> None:
    """The log says so, in the words that classification looks for."""
    with pytest.raises(ProcessStopped):
        run_family(tmp_path, "time.sleep(60)", timeout=0.7)
    assert gone(int((tmp_path / "pid").read_text()))
    assert (tmp_path / "log").read_text().splitlines()[-1] == "kiln: stopped after 0.7 seconds"


def test_a_log_is_bounded_while_the_child_runs(tmp_path: Path) -> None:
    """Ten gigabytes of output are a reason to stop, and never on the disk."""
    log = tmp_path / "log"
    with pytest.raises(ProcessStopped, match="after 100000 bytes of log"):
        run_logged(["yes", "x" * 99], cwd=tmp_path, environment={"PATH": os.defpath}, log=log, timeout=60, max_log=100_000)
    assert (log.stat().st_size < 101_000, log.read_text().splitlines()[-1]) == (True, "kiln: stopped after 100000 bytes of log")


def test_what_a_watch_answers_is_a_reason_to_stop(tmp_path: Path) -> None:
    """Asked while the child runs."""
    with pytest.raises(ProcessStopped, match="with too much"):
        run_logged(
            ["sleep", "60"], cwd=tmp_path, environment={"PATH": os.defpath}, log=tmp_path / "log", watch=lambda: "with too much"
        )


def test_children_that_outlive_their_parent_are_ended(tmp_path: Path) -> None:
    """A daemon that a build started would hold its folder and its cores."""
    assert run_family(tmp_path, "sys.exit(0)") == 0
    assert gone(int((tmp_path / "pid").read_text()))


def test_ctrl_c_leaves_no_child(tmp_path: Path) -> None:
    """KeyboardInterrupt goes on, after every process of the group is gone."""

    def press() -> None:
        deadline = time.monotonic() + 10
        while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.1)
        _thread.interrupt_main(signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=press)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            run_family(tmp_path, "time.sleep(60)")
    finally:
        thread.join()
        signal.signal(signal.SIGINT, previous)
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_program_that_is_not_there_is_a_build_error(tmp_path: Path) -> None:
    """The builder cannot run; no package is to blame."""
    with pytest.raises(BuildError, match="no-such-program: No such file or directory"):
        run_logged(["no-such-program"], cwd=tmp_path, environment={"PATH": os.defpath}, log=tmp_path / "log")


def test_short_questions() -> None:
    """An answer, or None for every kind of none."""
    environment = {"PATH": os.defpath}
    assert capture(["echo", "yes"], environment=environment) == "yes\n"
    assert capture(["false"], environment=environment) is None
    assert capture(["no-such-program"], environment=environment) is None
    assert capture(["sleep", "9"], environment=environment, timeout=0.1) is None


def test_only_listed_variables_are_passed_through() -> None:
    """No pip setting, no credential; certificates and proxies."""
    host = {"PATH": "/bin", "PIP_INDEX_URL": "x", "PIP_CERT": "c", "https_proxy": "p", "AWS_SECRET_ACCESS_KEY": "s", "LANG": ""}
    assert passed_through(host) == {"PATH": "/bin", "PIP_CERT": "c", "https_proxy": "p"}
