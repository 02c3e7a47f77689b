"""What the builders' tests share: tool environments that outlive one test run, since making them takes the longest."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tools_folder(request: pytest.FixtureRequest) -> Path:
    """Where cibuildwheel and zig are kept between runs: in pytest's own cache."""
    assert request.config.cache is not None
    return Path(request.config.cache.mkdir("kiln-tools"))
