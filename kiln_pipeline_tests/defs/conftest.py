"""A Dagster instance on disk, and the host that the definitions are tested for: Linux on x86_64."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest


@pytest.fixture(autouse=True)
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kiln_pipeline.workspace.platform.system", lambda: "Linux")
    monkeypatch.setattr("kiln_pipeline.workspace.platform.machine", lambda: "x86_64")
    monkeypatch.setattr("kiln_pipeline.workspace.platform.libc_ver", lambda: ("glibc", "2.36"))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance
