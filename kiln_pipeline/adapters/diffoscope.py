"""diffoscope, where it is installed: what differs between two wheels, as deep as it can look. Decides nothing."""

import os
import shutil
import tempfile
from pathlib import Path

from kiln_pipeline.adapters.processes import ProcessStopped, passed_through, run_logged
from kiln_pipeline.core.wheel_comparison import MAX_TEXT, printable

_DIFFERENT = 1
"""diffoscope's exit status when it found differences; 2 is trouble of its own."""


def explain(published: Path, rebuilt: Path, *, timeout: float = 600) -> str:
    """Return diffoscope's text on two wheels; empty when it is not installed, fails, or takes longer than `timeout` seconds."""
    program = shutil.which("diffoscope")
    if program is None:
        return ""
    with tempfile.TemporaryDirectory(prefix="kiln-diffoscope-") as scratch:
        report, log = Path(scratch, "report"), Path(scratch, "log")
        limits = ("--max-text-report-size", str(MAX_TEXT), "--no-progress", "--text-color", "never")
        command = [program, *limits, "--text", report, published, rebuilt]
        environment = {**passed_through(os.environ), "HOME": scratch, "TMPDIR": scratch}
        try:
            status = run_logged(command, cwd=Path(scratch), environment=environment, log=log, timeout=timeout)
        except ProcessStopped:
            return ""
        if status != _DIFFERENT or not report.is_file():
            return ""
        text = report.read_text(encoding="utf-8", errors="replace")
    folders = {str(published.parent): "published", str(rebuilt.parent): "rebuilt"}
    for folder, name in folders.items():
        text = text.replace(folder, name)
    return printable(text)[:MAX_TEXT]
