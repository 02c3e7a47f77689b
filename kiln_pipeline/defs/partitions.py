"""Partitions of `wheels`: platform (static) × release (dynamic). One partition is one release on one platform."""

import dagster as dg

from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.platforms import Platform

releases = dg.DynamicPartitionsDefinition(name="release")
platforms = dg.StaticPartitionsDefinition([platform.value for platform in Platform])
release_by_platform = dg.MultiPartitionsDefinition({"platform": platforms, "release": releases})


def partition_key(release: Release, platform: Platform) -> dg.MultiPartitionKey:
    """Return the key of one release on one platform, ``manylinux_x86_64|markupsafe==2.0.1`` as text."""
    return dg.MultiPartitionKey({"platform": platform.value, "release": str(release)})


def partition_of(context: dg.AssetExecutionContext) -> tuple[Release, Platform]:
    """Return what the running partition is about. Raises `RecipeError` for a key that nobody could have meant."""
    key = context.partition_key
    assert isinstance(key, dg.MultiPartitionKey)
    keys = key.keys_by_dimension
    return Release.parse(keys["release"]), Platform(keys["platform"])
