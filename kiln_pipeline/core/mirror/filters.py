"""Which of upstream's files a project's mirror copies, and which filter refuses the others. Nothing is fetched or written."""

from datetime import datetime
from enum import StrEnum

from packaging.version import Version

from kiln_pipeline.core.distributions import DistributionFile, FileKind
from kiln_pipeline.core.mirror.settings import Mirror
from kiln_pipeline.core.recipes import admits
from kiln_pipeline.core.requires_python import admits as admits_python
from kiln_pipeline.core.tags import parse_tag_set
from kiln_pipeline.core.wheel_tags import platform_matches, python_fits


class Filter(StrEnum):
    """The key in ``[mirror]`` that a file is refused by."""

    KIND = "kind"
    """Eggs and installers, which no installer of today takes: never copied."""
    SDISTS = "sdists"
    VERSIONS = "versions"
    PYTHONS = "pythons"
    PLATFORMS = "platforms"
    MAX_SIZE = "max-size"
    MIN_AGE = "min-age"
    MAX_AGE = "max-age"


def refused_by(file: DistributionFile, mirror: Mirror, now: datetime) -> Filter | None:
    """Return the first filter that refuses a file, None when it is to be copied.

    Yanked files are copied like others: locks pin them. A file without upload time passes no age filter that is set.
    """
    if file.kind is FileKind.OTHER:
        return Filter.KIND
    if file.kind is FileKind.SDIST and not mirror.sdists:
        return Filter.SDISTS
    if mirror.versions and not admits(mirror.versions, Version(file.version)):
        return Filter.VERSIONS
    if mirror.pythons and not any(admits_python(file.requires_python, python.major, python.minor) for python in mirror.pythons):
        return Filter.PYTHONS
    if file.kind is FileKind.WHEEL and (refused := _tags_refused_by(file.filename, mirror)):
        return refused
    if mirror.max_size and file.size > mirror.max_size:
        return Filter.MAX_SIZE
    return _age_refused_by(file.upload_time, mirror, now)


def _tags_refused_by(filename: str, mirror: Mirror) -> Filter | None:
    """Return which of pythons and platforms has no use for a wheel's tags. How new a system they need does not matter."""
    tags = parse_tag_set("-".join(filename.removesuffix(".whl").rsplit("-", 3)[1:]))
    fitting = [tag for tag in tags if not mirror.pythons or any(python_fits(str(tag), python) for python in mirror.pythons)]
    if not fitting:
        return Filter.PYTHONS
    if not mirror.platforms or any(
        tag.platform == "any" or any(platform_matches(tag.platform, platform) for platform in mirror.platforms) for tag in fitting
    ):
        return None
    return Filter.PLATFORMS


def _age_refused_by(uploaded: datetime | None, mirror: Mirror, now: datetime) -> Filter | None:
    if mirror.min_age and (uploaded is None or now - uploaded < mirror.min_age):
        return Filter.MIN_AGE
    if mirror.max_age and (uploaded is None or now - uploaded > mirror.max_age):
        return Filter.MAX_AGE
    return None
