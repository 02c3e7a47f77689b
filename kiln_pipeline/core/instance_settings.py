"""``kiln.toml`` as a whole: what one instance of kiln publishes to and tells. Parses; reads no file and connects to nothing."""

import tomllib
from dataclasses import dataclass

from kiln_pipeline.core.alert_channels import AlertChannelSettings, read_channels
from kiln_pipeline.core.publish_targets import PublishTarget, read_targets
from kiln_pipeline.core.toml_tables import TableReader
from kiln_pipeline.errors import Problem, RecipeError


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceSettings:
    """What the file says; nothing of it must be said."""

    publish: tuple[PublishTarget, ...] = ()
    alerts: tuple[AlertChannelSettings, ...] = ()


def parse_instance_settings(text: str, file: str) -> InstanceSettings:
    """Parse ``kiln.toml``; `file` names it in errors. Raises `RecipeError` with every problem of every table."""
    problems: list[Problem] = []
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError([Problem(file=file, field="", message=f"it is no TOML: {error}")]) from None
    top = TableReader(data, file=file, problems=problems)
    settings = InstanceSettings(publish=read_targets(top), alerts=read_channels(top))
    top.finish()
    if problems:
        raise RecipeError(problems)
    return settings
