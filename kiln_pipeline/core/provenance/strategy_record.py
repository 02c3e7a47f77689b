"""The part of a statement's ``kiln_attempt`` on how the ladder was walked: the strategy in force, every rung's outcome.

These fields came later than the format: statements without them are read as plain builds, those without the ladder's version as
of none.
"""

from collections.abc import Sequence
from dataclasses import fields

from kiln_pipeline.core.ladder import RungOutcome
from kiln_pipeline.core.strategies import LADDER_VERSION, Rung, Strategy
from kiln_pipeline.core.strict_json import Table, format_time

_FIELDS = {"strategy", "rungs"}
_VERSION = "ladder"
_LATER = {"adds", "old_c_api"}
"""Fields of a strategy that came with the second version of the ladder."""


def strategy_record(strategy: Strategy, rungs: Sequence[RungOutcome]) -> dict[str, object]:
    """Return the fields as tables for `strict_json.canonical`."""
    return {
        _VERSION: LADDER_VERSION,
        "strategy": {
            "rung": strategy.rung,
            "cutoff": format_time(strategy.cutoff) if strategy.cutoff else "",
            "newer": strategy.newer,
            "constraints": strategy.constraints,
            "regenerate": strategy.regenerate,
            "adds": strategy.adds,
            "old_c_api": strategy.old_c_api,
            "only": strategy.only,
        },
        "rungs": [{"rung": rung.rung, "class": rung.failure_class, "proof": rung.proof} for rung in rungs],
    }


def strategy_fields(own: Table) -> set[str]:
    """Return which of the fields a statement must have: none when it is from before time travel."""
    present = own.plain().keys()
    timely = _FIELDS if (_FIELDS | {_VERSION}) & present else set[str]()
    return timely | ({_VERSION} & present)


def read_ladder_version(own: Table) -> int:
    """Return the version of the ladder that was climbed; 0 when the statement is from before it had one."""
    return own.whole(_VERSION) if _VERSION in own.plain() else 0


def read_strategy_record(own: Table) -> tuple[Strategy, tuple[RungOutcome, ...]]:
    """Return what `strategy_record` wrote. Raises `VerificationError`."""
    if not _FIELDS & own.plain().keys():
        return Strategy(), ()
    known = {field.name for field in fields(Strategy)}
    present = known - _LATER if not _LATER & own.table("strategy", fields=None).plain().keys() else known
    table = own.table("strategy", fields=present)
    rung = table.text("rung")
    if rung not in Rung.__members__.values():
        raise table.error("rung", f"is {rung!r}, which is no rung of the ladder")
    strategy = Strategy(
        rung=Rung(rung),
        cutoff=table.time("cutoff") if table.raw("cutoff") else None,
        newer=table.texts("newer"),
        constraints=table.texts("constraints"),
        regenerate=table.flag("regenerate"),
        adds=table.texts("adds") if "adds" in present else (),
        old_c_api=table.flag("old_c_api") if "old_c_api" in present else False,
        only=table.texts("only"),
    )
    rows = own.tables("rungs", fields={"rung", "class", "proof"})
    return strategy, tuple(
        RungOutcome(rung=row.text("rung"), failure_class=row.text("class"), proof=row.text("proof")) for row in rows
    )
