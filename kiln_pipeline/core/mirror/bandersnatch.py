"""bandersnatch's configuration for the projects that our recipes copy: an allow-list, and our filters where it has the like.

bandersnatch is for who wants a mirror of its own form; which of our filters it cannot express is said in the text.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from kiln_pipeline.core.mirror.settings import Mirror, MirrorMode
from kiln_pipeline.core.recipes import Recipe


def bandersnatch_config(recipes: Sequence[Recipe], *, upstream: str, directory: str) -> str:
    """Return a bandersnatch.conf (bandersnatch 6.7 or later) that mirrors what `recipes` copy into `directory`.

    `upstream` is a simple index; bandersnatch asks its host for ``/simple/`` and ``/pypi/<project>/json``.
    """
    copied = [recipe for recipe in recipes if recipe.mirror.mode is MirrorMode.COPY]
    url = urlsplit(upstream)
    lines = [
        "; Written by `kiln mirror export-bandersnatch`: the projects that recipes copy. Change the recipes, not this file.",
        *(
            f"; It cannot say for one project: {recipe.project}'s {', '.join(lost)}"
            for recipe in copied
            if (lost := _lost(recipe.mirror))
        ),
        "[mirror]",
        f"directory = {directory}",
        f"master = {url.scheme}://{url.netloc.rpartition('@')[2]}",
        *(["allow-non-https = true"] if url.scheme == "http" else []),
        "api-method = simple",
        "simple-format = ALL",
        "compare-method = hash",
        "json = false",
        "release-files = true",
        "hash-index = false",
        "timeout = 30",
        "global-timeout = 3000",
        "workers = 8",
        "verifiers = 3",
        "stop-on-error = false",
        "",
        "[plugins]",
        "enabled =",
        "    allowlist_project",
        *(["    allowlist_release"] if any(recipe.mirror.versions for recipe in copied) else []),
        "",
        "[allowlist]",
        "packages =",
        *(f"    {recipe.project}{specifier}" for recipe in copied for specifier in _union(recipe.mirror)),
    ]
    return "\n".join(lines) + "\n"


def _union(mirror: Mirror) -> list[str]:
    return [str(specifier) for specifier in mirror.versions] or [""]


def _lost(mirror: Mirror) -> list[str]:
    """Return the filters that bandersnatch has no like of for single projects."""
    named = {
        "pythons": mirror.pythons,
        "platforms": mirror.platforms,
        "sdists": not mirror.sdists,
        "max-size": mirror.max_size,
        "min-age": mirror.min_age,
        "max-age": mirror.max_age,
    }
    return [name for name, value in named.items() if value]
