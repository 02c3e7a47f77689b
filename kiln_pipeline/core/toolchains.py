"""What an attempt was built with, as far as it decides whether trying again can end otherwise: tool, image, kiln's own ladder.

A failure that only a change can mend is free again when the toolchain changed (`core.retries`). The tool and the ladder of now
are kiln's own knowledge; which image a build host uses now is what the newest attempts on its platform say.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.platforms import BuildIdentifier, Platform, cibuildwheel_version
from kiln_pipeline.core.strategies import LADDER_VERSION

ZIGLANG = "0.17.1"
"""The zig that builds without a container engine, as its project on the index counts."""
_TOOLS = {"cibuildwheel": "cibuildwheel", "zig": "ziglang"}


def tool_of(builder: str, materials: Iterable[str]) -> str:
    """Return the pin of the builder's own tool among the names of an attempt's materials; empty when none is named."""
    prefix = f"{_TOOLS.get(builder, builder)}=="
    return next((name for name in materials if name.startswith(prefix)), "")


def tool_of_now(builder: str, identifier: BuildIdentifier) -> str:
    """Return the pin of the tool that this version of kiln builds `identifier` with; empty for a builder it does not have."""
    match builder:
        case "cibuildwheel":
            version = cibuildwheel_version(identifier)
            return f"cibuildwheel=={version}" if version else ""
        case "zig":
            return f"ziglang=={ZIGLANG}"
        case _:
            return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Toolchains:
    """The newest container image of each builder on each platform, and since when the log knows it."""

    images: dict[tuple[str, Platform], tuple[str, datetime]]

    @classmethod
    def of(cls, attempts: Iterable[Attempt]) -> "Toolchains":
        """Read them out of all attempts, in any order. An image that comes back is no new one."""
        first: dict[tuple[str, Platform], dict[str, datetime]] = {}
        for attempt in attempts:
            if attempt.image_sha256:
                seen = first.setdefault((attempt.builder, attempt.identifier.platform), {})
                seen[attempt.image_sha256] = min(seen.get(attempt.image_sha256, attempt.finished), attempt.finished)
        return cls(images={place: max(seen.items(), key=lambda item: (item[1], item[0])) for place, seen in first.items()})

    def change_since(self, last: Attempt) -> str:
        """Return what of the toolchain changed since an attempt, in words for a person; empty when nothing did."""
        if last.ladder != LADDER_VERSION:
            return "kiln has other ways of building now"
        tool = tool_of_now(last.builder, last.identifier)
        if tool and last.tool and last.tool != tool:
            return f"{tool} replaces {last.tool}"
        image, since = self.images.get((last.builder, last.identifier.platform), ("", last.finished))
        if last.image_sha256 and image != last.image_sha256 and since > last.finished:
            return "the container image is a newer one"
        return ""
