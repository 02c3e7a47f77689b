"""Reads the file of enrolled build hosts. What it means is `core.hosts`' matter."""

from collections.abc import Mapping
from pathlib import Path

from kiln_pipeline.core.hosts import Host, parse_hosts
from kiln_pipeline.errors import Problem, RecipeError


def load_hosts(path: Path) -> Mapping[str, Host]:
    """Return the hosts in a ``hosts.toml``, by name. Raises `RecipeError` with every problem of it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"it cannot be read: {getattr(error, 'strerror', None) or error}; KILN_HOSTS names the file of enrolled hosts"
        raise RecipeError([Problem(file=str(path), field="", message=message)]) from None
    return parse_hosts(text, path.name)
