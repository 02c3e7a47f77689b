"""`dagster dev` as a child and the site beside it, under one command that stops both. No Dagster is imported here."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from kiln_pipeline.adapters.site_server import Site, SiteServer

PATIENCE = 20.0
"""Seconds that the child gets to end after a signal, before it is killed."""


def serve_until_stopped(
    folder: Path, site: Site, port: int, site_port: int, environment: Mapping[str, str], say: Callable[[str], None]
) -> int:
    """Run both until the child ends or this process is interrupted; return the exit code for the shell."""
    command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    with SiteServer(site, port=site_port) as server:
        # a session of its own: Ctrl-C in the terminal reaches this process alone, which then stops the child in order
        child = subprocess.Popen(command, cwd=folder, env=dict(environment), start_new_session=True, stdin=subprocess.DEVNULL)
        say(f"site:    {server.url}")
        say(f"Dagster: http://127.0.0.1:{port}/   (Ctrl-C stops both)")
        try:
            return child.wait()
        except KeyboardInterrupt:
            say("stopping …")
            return 0
        finally:
            _stop(child)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End the child and everything it started: a run that builds is told at once, as by Ctrl-C in its own terminal."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=PATIENCE)
    deadline = time.monotonic() + PATIENCE
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            os.killpg(child.pid, 0)
            time.sleep(0.1)
        os.killpg(child.pid, signal.SIGKILL)
