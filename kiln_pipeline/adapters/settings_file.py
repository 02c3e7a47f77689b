"""Reads ``kiln.toml``. What it means is `core.instance_settings`' matter."""

from pathlib import Path

from kiln_pipeline.core.instance_settings import InstanceSettings, parse_instance_settings
from kiln_pipeline.errors import Problem, RecipeError


def load_settings(path: Path) -> InstanceSettings:
    """Return what the file says, and nothing without it. Raises `RecipeError` with every problem."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return InstanceSettings()
    except (OSError, UnicodeDecodeError) as error:
        message = f"it cannot be read: {getattr(error, 'strerror', None) or error}"
        raise RecipeError([Problem(file=str(path), field="", message=message)]) from None
    return parse_instance_settings(text, path.name)
