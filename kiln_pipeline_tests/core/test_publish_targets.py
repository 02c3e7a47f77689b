"""``kiln.toml``: what it may say, and that every problem of it is told at once."""

from pathlib import Path

import pytest

from kiln_pipeline.adapters.s3 import S3Store
from kiln_pipeline.adapters.s3_client import S3Location
from kiln_pipeline.adapters.targets_file import load_targets
from kiln_pipeline.core.instance_settings import parse_instance_settings
from kiln_pipeline.core.publish_targets import PublishTarget
from kiln_pipeline.errors import RecipeError

GOOD = """
[[publish]]
name = "wasabi"
to = "s3://bucket/prefix"
endpoint = "https://s3.eu-central-1.wasabisys.com"
profile = "wasabi"
region = "eu-central-1"

[[publish]]
name = "disk"
to = "../mirror"
"""


def test_targets_are_parsed() -> None:
    assert parse_instance_settings(GOOD, "kiln.toml").publish == (
        PublishTarget(
            name="wasabi",
            to="s3://bucket/prefix",
            endpoint="https://s3.eu-central-1.wasabisys.com",
            profile="wasabi",
            region="eu-central-1",
        ),
        PublishTarget(name="disk", to="../mirror"),
    )
    assert parse_instance_settings("", "kiln.toml").publish == ()


def test_every_problem_is_told_at_once() -> None:
    text = """
    mirrors = 1
    [[publish]]
    name = "Wasabi"
    to = "https://bucket"
    [[publish]]
    name = "a"
    to = "folder"
    profile = "x"
    [[publish]]
    name = "a"
    """
    with pytest.raises(RecipeError) as caught:
        parse_instance_settings(text, "kiln.toml")
    assert str(caught.value).splitlines() == [
        "kiln.toml: publish[0].name: 'Wasabi' is no name for a target: lower-case letters, digits and '-', 64 at most",
        "kiln.toml: publish[0].to: 'https://bucket' is neither a folder nor s3://bucket/prefix nor github://owner/repository",
        "kiln.toml: publish[1].profile: is for s3:// only",
        "kiln.toml: publish[2].to: is missing: write a folder, s3://bucket/prefix or github://owner/repository",
        "kiln.toml: mirrors: is unknown; known are alerts, publish",
    ]


def test_one_name_and_one_place_are_one_target() -> None:
    twice = '[[publish]]\nname = "a"\nto = "b"\n' * 2
    with pytest.raises(RecipeError, match="'a' is there more than once"):
        parse_instance_settings(twice, "kiln.toml")


def test_a_profile_wins_over_the_keys_in_the_environment(tmp_path: Path) -> None:
    (tmp_path / "kiln.toml").write_text(GOOD)
    environment = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "KILN_S3_ENDPOINT": "https://s3.example.org"}
    targets = load_targets(tmp_path / "kiln.toml", environment)
    assert isinstance(targets["wasabi"], S3Store)
    assert targets["wasabi"].location == S3Location(
        bucket="bucket",
        prefix="prefix/",
        endpoint_url="https://s3.eu-central-1.wasabisys.com",
        region="eu-central-1",
        profile="wasabi",
    )
    assert str(targets["disk"]) == str(tmp_path.parent / "mirror")
    assert load_targets(tmp_path / "none.toml", environment) == {}
