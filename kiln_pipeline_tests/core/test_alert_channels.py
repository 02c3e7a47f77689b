"""``[[alerts]]`` of kiln.toml: what it may say, and that every problem of it is told at once."""

from datetime import timedelta
from pathlib import Path

import pytest

from kiln_pipeline.adapters.alerts_file import load_alert_channels
from kiln_pipeline.adapters.mail import Mail
from kiln_pipeline.adapters.webhook import Webhook
from kiln_pipeline.core.alert_channels import AlertChannelSettings
from kiln_pipeline.core.instance_settings import parse_instance_settings
from kiln_pipeline.errors import RecipeError

GOOD = """
[[alerts]]
name = "team"
to = "$TEAM_WEBHOOK"
every = 30

[[alerts]]
name = "mail"
to = "mailto:maintainers@example.org"
from = "kiln@example.org"
smtp = "smtp://kiln@mail.example.org:587"

[[publish]]
name = "disk"
to = "../mirror"
"""


def test_channels_are_parsed_beside_targets() -> None:
    settings = parse_instance_settings(GOOD, "kiln.toml")
    assert settings.alerts == (
        AlertChannelSettings(name="team", to="$TEAM_WEBHOOK", every=timedelta(minutes=30)),
        AlertChannelSettings(
            name="mail",
            to="mailto:maintainers@example.org",
            sender="kiln@example.org",
            smtp="smtp://kiln@mail.example.org:587",
        ),
    )
    assert [target.name for target in settings.publish] == ["disk"]
    assert parse_instance_settings("", "kiln.toml").alerts == ()


def test_every_problem_is_told_at_once_and_no_address_is_shown() -> None:
    text = """
    alarms = 1
    [[alerts]]
    name = "Team"
    to = "hooks.example.org/services/SECRET"
    every = 0
    [[alerts]]
    name = "a"
    to = "https://hooks.example.org/services/SECRET"
    smtp = "smtp://mail.example.org"
    often = true
    [[alerts]]
    name = "a"
    to = "mailto:x@example.org"
    smtp = "mail.example.org"
    """
    with pytest.raises(RecipeError) as caught:
        parse_instance_settings(text, "kiln.toml")
    assert "SECRET" not in str(caught.value)
    assert sorted(problem.field for problem in caught.value.problems) == [
        "alarms",
        "alerts[0].every",
        "alerts[0].name",
        "alerts[0].to",
        "alerts[1].name",
        "alerts[1].often",
        "alerts[1].smtp",
        "alerts[2].from",
        "alerts[2].name",
        "alerts[2].smtp",
    ]


def test_problems_of_both_tables_are_told_at_once() -> None:
    """A file that is wrong in two places is mended once."""
    with pytest.raises(RecipeError) as caught:
        parse_instance_settings('[[publish]]\nname = "disk"\n[[alerts]]\nname = "team"\n', "kiln.toml")
    assert [problem.field for problem in caught.value.problems] == ["publish[0].to", "alerts[0].to"]


@pytest.mark.parametrize("address", ["x", "a@b\nBcc: c@d", "a b@c", "@b", "a@", "a@b,c@d"])
def test_a_mail_address_holds_no_second_one(address: str) -> None:
    text = f'[[alerts]]\nname = "m"\nto = """mailto:{address}"""\nfrom = "k@example.org"\nsmtp = "smtp://mail.example.org"'
    with pytest.raises(RecipeError, match="is no mail address"):
        parse_instance_settings(text, "kiln.toml")


def test_a_variable_that_is_not_set_is_told(tmp_path: Path) -> None:
    file = tmp_path / "kiln.toml"
    assert load_alert_channels(file, {}) == {}
    file.write_text(GOOD)
    for environment in ({}, {"TEAM_WEBHOOK": "nowhere"}):
        with pytest.raises(RecipeError, match=r"\$TEAM_WEBHOOK holds no address of a webhook"):
            load_alert_channels(file, environment)
    channels = load_alert_channels(file, {"TEAM_WEBHOOK": "https://hooks.example.org/services/SECRET"})
    assert {name: (type(channel), every) for name, (channel, every) in channels.items()} == {
        "team": (Webhook, timedelta(minutes=30)),
        "mail": (Mail, timedelta(hours=1)),
    }
