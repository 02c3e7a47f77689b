"""Makes the publish targets of ``kiln.toml``. What the file means is `core.publish_targets`' matter."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from kiln_pipeline.adapters.directory import DirectoryStore
from kiln_pipeline.adapters.github_releases import API, GitHubReleases
from kiln_pipeline.adapters.s3 import S3Store
from kiln_pipeline.adapters.s3_client import parse_location
from kiln_pipeline.adapters.settings_file import load_settings
from kiln_pipeline.core.publish_targets import PublishTarget
from kiln_pipeline.ports import ObjectStore, ReleasePage


def load_targets(path: Path, environment: Mapping[str, str]) -> Mapping[str, ObjectStore | ReleasePage]:
    """Return the publish targets of ``kiln.toml`` by name; none without the file. Raises `RecipeError` with every problem."""
    return {target.name: _store(target, path, environment) for target in load_settings(path).publish}


def _store(target: PublishTarget, path: Path, environment: Mapping[str, str]) -> ObjectStore | ReleasePage:
    if target.to.startswith("github://"):
        token = environment.get("GITHUB_TOKEN", "")
        return GitHubReleases(target.to.removeprefix("github://"), token=token, api=target.endpoint or API)
    if not target.to.startswith("s3://"):
        return DirectoryStore((path.parent / target.to).resolve())
    source = f"{path.name}: {target.name}"
    location = parse_location(target.to, environment, source=source, endpoint=target.endpoint or None)
    if target.profile:  # explicit keys would win over it
        location = replace(location, profile=target.profile, access_key=None, secret_key=None, session_token=None)
    return S3Store(replace(location, region=target.region or location.region))
