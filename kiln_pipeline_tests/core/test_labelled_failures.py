"""The classifier against a person's labels: 69 of the original's failed builds, a stratified sample (project × Python).

The labels were given before the classifier's answers were seen. At first 62 agreed. Of the seven that did not, in five the
reader had missed what a compiler said in one very long line, which the labels here correct; two (and the classifier's own answer
to one of the five) were the rules' faults, since mended.

No rule was made for the 27 of `HELD_OUT`: what rungs of other projects' builds ended in, in containers with gcc, read by the same
person, with the answers in view. There 25 agreed, one was "unknown" (4 %) and one too general; both rules have been mended since.

`BLIND` are 35 more of the original's logs, all of its failed ones that are in neither. The rules had been run over them, and
never held against a label. Labelled by another reader from the logs alone, before the classifier's answers were seen: 33 agreed
(94 %), none was "unknown". The other two the reader took for what setup.py raised in the end; a compiler had said why, in one
very long line. Their first labels are kept.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from kiln_pipeline.core.failure_log import classify
from kiln_pipeline.core.failures import FailureClass

DATA = Path(__file__).parent.parent / "data"
LABELLED = json.loads((DATA / "labelled_failures.json").read_text(encoding="utf-8"))
HELD_OUT = json.loads((DATA / "held_out_failures.json").read_text(encoding="utf-8"))
BLIND = json.loads((DATA / "blind_failures.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("rows", [LABELLED, HELD_OUT, BLIND], ids=["labelled", "held-out", "blind"])
def test_kiln_says_what_the_person_said(rows: list[dict[str, Any]]) -> None:
    """Every one of them, by name."""
    found = {row["build"]: str(classify("\n".join(row["log"])).failure_class) for row in rows}
    assert {row["build"]: row["class"] for row in rows} == found


def test_the_sample_is_no_handful() -> None:
    """At least 60 logs of several classes, each label a class that exists."""
    classes = {row["class"] for row in LABELLED}
    assert len(LABELLED) >= 60
    assert len(classes) >= 7
    assert classes <= set(FailureClass)


def test_the_blind_labels_agreed_as_stated() -> None:
    """33 of 35 at once, and no log without a name."""
    assert [len(BLIND), sum("first-label" not in row for row in BLIND)] == [35, 33]
    assert {row["build"] for row in BLIND}.isdisjoint(row["build"] for row in (*LABELLED, *HELD_OUT))
    assert "unknown" not in {classify("\n".join(row["log"])).failure_class for row in BLIND}
