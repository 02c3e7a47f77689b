"""The workspace: what the environment chooses."""

from pathlib import Path

import pytest

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.adapters.s3 import S3Store
from kiln_pipeline.adapters.s3_client import S3Location
from kiln_pipeline.errors import RecipeError
from kiln_pipeline.workspace import Workspace


def test_everything_is_in_folders_below_home_by_default(tmp_path: Path) -> None:
    workspace = Workspace.from_environment(tmp_path, {})
    assert [str(store) for store in (workspace.site, workspace.inbox, workspace.state)] == [
        str(tmp_path / ".kiln" / name) for name in ("site", "inbox", "state")
    ]
    assert workspace.served_site == tmp_path / ".kiln" / "site"
    assert list(tmp_path.iterdir()) == []


def test_each_store_can_be_another_folder_or_in_a_bucket(tmp_path: Path) -> None:
    environment = {
        "KILN_SITE": "s3://public/kiln",
        "KILN_INBOX": "elsewhere",
        "KILN_S3_ENDPOINT": "https://s3.example.org",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_REGION": "eu-central-1",
    }
    workspace = Workspace.from_environment(tmp_path, environment)
    assert isinstance(workspace.site, S3Store)
    assert workspace.site.location == S3Location(
        bucket="public",
        prefix="kiln/",
        endpoint_url="https://s3.example.org",
        region="eu-central-1",
        access_key="k",
        secret_key="s",
    )
    assert workspace.served_site is workspace.site
    assert isinstance(workspace.inbox, DirectoryStore)
    assert workspace.inbox.folder == tmp_path / "elsewhere"
    assert str(workspace.state) == str(tmp_path / ".kiln" / "state")


@pytest.mark.parametrize("address", ["http://bucket/a", "s3://", "gs://bucket"])
def test_an_address_of_another_kind_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(RecipeError, match="KILN_STATE: write s3://bucket"):
        Workspace.from_environment(tmp_path, {"KILN_STATE": address})
