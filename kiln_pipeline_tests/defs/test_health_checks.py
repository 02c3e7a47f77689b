"""The checks that compare today with yesterday, as Dagster evaluates them."""

from datetime import timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa

from kiln_pipeline.core.site_status.history import HISTORY_SCHEMA
from kiln_pipeline.defs import checks
from kiln_pipeline.stages.site_status import HISTORY
from kiln_pipeline.stages.tables import table_bytes
from kiln_pipeline_tests.workspaces import memory_workspace


def test_a_jump_is_told_with_the_platform_and_what_to_do(tmp_path: Path) -> None:
    kiln = memory_workspace(tmp_path)
    assert evaluated(checks.gaps_do_not_jump, kiln).passed
    none = dict.fromkeys(("failed", "waiting", "published", "covered"), 0)
    rows = [
        {"at": kiln.clock() - timedelta(days=days), "platform": "macosx_arm64", "missing": missing, **none}
        for days, missing in ((2, 100), (0, 400))
    ]
    kiln.state.put(HISTORY, table_bytes(pa.Table.from_pylist(rows, HISTORY_SCHEMA)))
    result = evaluated(checks.gaps_do_not_jump, kiln)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "kiln missing" in (result.description or "")
    assert "macosx_arm64" in str(result.metadata["jumped"].value)


def test_without_builds_there_is_nothing_to_compare(tmp_path: Path) -> None:
    result = evaluated(checks.builds_succeed, memory_workspace(tmp_path))
    assert (result.passed, result.metadata["last day"].value) == (True, "too few attempts to tell")


def evaluated(check: dg.AssetChecksDefinition, kiln: object) -> dg.AssetCheckResult:
    result = check(kiln)
    assert isinstance(result, dg.AssetCheckResult)
    return result
