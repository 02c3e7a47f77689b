"""What every installer must do with a site of kiln's, as a table: the rows are scenarios, the columns installers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kiln_pipeline_tests.installers.programs import PROGRAMS, Wish
from kiln_pipeline_tests.installers.world import BUILT

ALONE = Wish(requirements=("Speedy.Thing==1.0", "latecomer", "withdrawn", "fresh"))
BESIDE = Wish(requirements=("markupsafe==2.0.1", "plain-dep"), index="snippet")
FIRST = Wish(requirements=("speedy-thing", "plain-dep"), index="first")
FILES = Wish(
    requirements=("speedy-thing @ {site}wheels/speedy_thing-1.0-1-{tag}.whl", "latecomer @ {vendor}/latecomer-1.0-1-{tag}.whl")
)
CUTOFF = Wish(requirements=("fresh",), cutoff=True)
PINNED = Wish(requirements=("withdrawn==1.1", "speedy-thing<1"))
OLD = Wish(requirements=("latecomer", "fresh"))
DATED = replace(OLD, view=f"simple@{BUILT.date()}")
MARKERS = Wish(requirements=("markupsafe==2.0.1", "plain-dep"), index="markers")
MARKERS_WITH_AND = Wish(index="markers with and")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A row of the table."""

    title: str
    wish: Wish
    """One project, which is locked and installed once for each installer and server."""
    installs: Mapping[str, str] = field(default_factory=dict[str, str])
    """Project -> ``version`` for a file of upstream's, ``version-1`` for a wheel of ours."""
    cannot: Mapping[str, str] = field(default_factory=dict[str, str])
    """Installer -> why it cannot do this."""
    instead: Mapping[str, str] = field(default_factory=dict[str, str])
    """What those who cannot install."""


LOCK = Scenario(title="a lock with our hash installs, and with another hash does not", wish=ALONE)
LATER_WHEEL = Scenario(
    title="upstream's later wheel before ours",
    wish=ALONE,
    installs={"latecomer": "1.0"},
    cannot={"uv": "its lock keeps yanked files, and ours has the higher build tag; `uv pip install` takes upstream's"},
    instead={"latecomer": "1.0-1"},
)
_BUILDS = "it passes the yanked wheel over and builds the locked sdist"
OLD_LOCK = Scenario(
    title="a lock from before upstream's wheel still installs ours",
    wish=OLD,
    installs={"latecomer": "1.0-1", "fresh": "1.0-1"},
    cannot={"Poetry": _BUILDS, "PDM": _BUILDS},
)
OLD_LOCK_BINARY = Scenario(
    title="the same where sdists are refused (`--only-binary`, `no-build`, `installer.only-binary`, `PDM_ONLY_BINARY`)",
    wish=replace(OLD, only_binary=True),
    installs=OLD_LOCK.installs,
)
PLATFORMS = Scenario(title="a platform that only upstream has", wish=ALONE)
BY_MARKER = Scenario(
    title="our index on some platforms only, by marker",
    wish=MARKERS,
    cannot={
        "pip": "it takes the best file of all its indexes on every platform",
        "PDM": "its sources are chosen by project alone",
    },
    instead={"markupsafe": "2.0.1-1"},
)
INSTALLED = (
    Scenario(title="the only index", wish=ALONE, installs={"speedy-thing": "1.0-1", "fresh": "2.0"}),
    Scenario(
        title="a source for some projects, as in the snippets above",
        wish=BESIDE,
        installs={"markupsafe": "2.0.1-1", "plain-dep": "3.0"},
    ),
    Scenario(title="a project that kiln does not track, from the next index", wish=FIRST, installs={"plain-dep": "3.0"}),
    Scenario(title="a wheel by its URL", wish=FILES, installs={"speedy-thing": "1.0-1"}),
    Scenario(title="a wheel in a folder", wish=FILES, installs={"latecomer": "1.0-1"}),
    Scenario(title="another spelling of the name", wish=ALONE, installs={"speedy-thing": "1.0-1"}),
    Scenario(title="ours before upstream's sdist of the same version", wish=BESIDE, installs={"markupsafe": "2.0.1-1"}),
    LATER_WHEEL,
    Scenario(title="a newer version that only upstream has", wish=ALONE, installs={"fresh": "2.0"}),
    Scenario(title="an older version that only upstream has", wish=PINNED, installs={"speedy-thing": "0.9"}),
    Scenario(title="nothing uploaded after a date", wish=CUTOFF, installs={"fresh": "1.0-1"}),
    Scenario(title="a dated view shows the index as it was", wish=DATED, installs={"latecomer": "1.0-1", "fresh": "1.0-1"}),
    Scenario(title="a yanked version is passed over", wish=ALONE, installs={"withdrawn": "1.0"}),
    Scenario(title="a yanked version that is pinned", wish=PINNED, installs={"withdrawn": "1.1"}),
)
"""Those of which what is installed tells all."""

SCENARIOS = (*INSTALLED, LOCK, OLD_LOCK, OLD_LOCK_BINARY, PLATFORMS, BY_MARKER)


def render_table() -> str:
    """Return the table in Markdown, as README has it."""
    lines = [f"| | {' | '.join(PROGRAMS)} |", f"|---|{'---|' * len(PROGRAMS)}"]
    for row in SCENARIOS:
        cells = (f"no: {row.cannot[name]}" if name in row.cannot else "yes" for name in PROGRAMS)
        lines.append(f"| {row.title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
