"""Makes the alert channels of ``kiln.toml``. What they mean is `core.alert_channels`' matter."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from kiln_pipeline.adapters.mail import Mail
from kiln_pipeline.adapters.settings_file import load_settings
from kiln_pipeline.adapters.webhook import Webhook
from kiln_pipeline.core.alert_channels import MAIL, AlertChannelSettings, is_webhook
from kiln_pipeline.errors import Problem, RecipeError
from kiln_pipeline.ports import AlertChannel


def load_alert_channels(path: Path, environment: Mapping[str, str]) -> Mapping[str, tuple[AlertChannel, timedelta]]:
    """Return each channel by name, with how often it is told the same at most; none without the file.

    Raises `RecipeError` with every problem.
    """
    channels = load_settings(path).alerts
    unset = [
        Problem(file=path.name, field=f"alerts {channel.name!r}", message=f"{channel.to} holds no address of a webhook: set it")
        for channel in channels
        if channel.to.startswith("$") and not is_webhook(environment.get(channel.to[1:], ""))
    ]
    if unset:
        raise RecipeError(unset)
    return {channel.name: (_channel(channel, environment), channel.every) for channel in channels}


def _channel(channel: AlertChannelSettings, environment: Mapping[str, str]) -> AlertChannel:
    if channel.to.startswith(MAIL):
        password = environment.get("KILN_SMTP_PASSWORD", "")
        to = channel.to.removeprefix(MAIL)
        return Mail(channel.name, to=to, sender=channel.sender, smtp=channel.smtp, password=password)
    return Webhook(channel.name, environment[channel.to[1:]] if channel.to.startswith("$") else channel.to)
