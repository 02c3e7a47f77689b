"""The page on the site that says how to check a wheel by hand, with this log's key in it."""

from importlib.resources import files

from kiln_pipeline.core import site_layout
from kiln_pipeline.core.audit_log.checkpoint import VerifierKey
from kiln_pipeline.errors import ObjectNotFound
from kiln_pipeline.ports import ObjectStore


def render_readme(key: VerifierKey) -> bytes:
    """Return the page, the same bytes for the same key."""
    template = files("kiln_pipeline").joinpath("templates", "audit_readme.md").read_text(encoding="utf-8")
    return template.replace("@LOG_KEY@", str(key)).encode()


def put_readme(site: ObjectStore, key: VerifierKey) -> None:
    """Put the page when the site has none, or another one."""
    data = render_readme(key)
    try:
        same = site.get(site_layout.AUDIT_README) == data
    except ObjectNotFound:
        same = False
    if not same:
        site.put(site_layout.AUDIT_README, data)
