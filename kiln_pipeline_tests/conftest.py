"""What all tests share: nothing skips in CI, and the settings of a container engine where one answers."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from kiln_pipeline.adapters.cibuildwheel_image import stated_image
from kiln_pipeline.adapters.cibuildwheel_pins import package_of
from kiln_pipeline.adapters.container_images import pinned_image, resolve
from kiln_pipeline.adapters.processes import passed_through
from kiln_pipeline.adapters.tool_environments import ToolEnvironments
from kiln_pipeline.core.platforms import cibuildwheel_version
from kiln_pipeline.errors import BuildError
from kiln_pipeline_tests.builds import MARKUPSAFE, plan_of
from kiln_pipeline_tests.s3_server import S3Server

IN_CI = os.environ.get("KILN_CI") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[Any]:
    """In CI a test that skips for want of a server, engine or browser has failed."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome, report.longrepr = "failed", f"KILN_CI=1 allows no skip: {reason}"
    return report


@pytest.fixture(autouse=True)
def no_instance_of_another_test() -> None:
    """Dagster asks the instance that was entered last for the state of definitions, even when that one is gone."""
    module = sys.modules.get("dagster._core.storage.defs_state.base")
    if module is not None:
        module._current_storage.set(None)


@pytest.fixture(scope="session")
def container_environment(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """The host's settings for cibuildwheel, the engine among them; skips where no engine answers or it cannot get the image."""
    engine = next((name for name in ("docker", "podman") if _answers(name)), None)
    if engine is None:
        pytest.skip("no container engine answers: install podman or docker")
    settings = {name: value for name, value in os.environ.items() if name.startswith("CIBW_") or name == "CONTAINERS_CONF"}
    settings.setdefault("CIBW_CONTAINER_ENGINE", engine)
    assert request.config.cache is not None
    tools = ToolEnvironments(request.config.cache.mkdir("kiln-tools"), endpoint=PYPI_SIMPLE_ENDPOINT, host=os.environ)
    plan = plan_of(MARKUPSAFE)
    version = cibuildwheel_version(plan.identifier)
    python = tools.python(f"cibuildwheel-{version}", (f"cibuildwheel=={version}",))
    host = {**passed_through(os.environ), **settings}
    engine = settings["CIBW_CONTAINER_ENGINE"].split(";")[0].strip()
    reference = stated_image(plan, settings, package_of(python) / "resources")
    try:
        image = resolve(reference, plan.identifier, engine=engine, environment=host)
        pinned_image(engine, image.reference, image.digest, environment=host)
    except BuildError as error:
        pytest.skip(f"{engine} cannot get the image: {error}")
    return settings


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3-compatible server; skips where it is not installed."""
    with S3Server(tmp_path_factory.mktemp("s3") / "server") as server:
        yield server


def _answers(engine: str) -> bool:
    if shutil.which(engine) is None:
        return False
    return subprocess.run([engine, "info"], check=False, capture_output=True, timeout=60).returncode == 0
