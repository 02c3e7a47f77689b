"""The command line as a person and a script meet it: help, exit codes, one clear error per wrong input."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kiln_pipeline.core.simple_index.parse import parse_project_page
from kiln_pipeline_tests.loopback_upstream import LoopbackUpstream
from kiln_pipeline_tests.workspaces import DATA, RECIPES


def test_help_names_every_command_in_the_order_of_a_day(kiln) -> None:
    lines = kiln("--help").output.split("Commands:")[1].splitlines()
    names = " ".join(line.split()[0] for line in lines if line.startswith("  ") and line[2] != " ")
    assert names == "run up status missing explain failures lock-check recipes serve verify rebuild build audit index mirror host"


def test_missing_lists_every_gap_as_json(kiln) -> None:
    """Verdict, rule and reason of each row, for programs; filters narrow it."""
    result = kiln("missing", "MarkupSafe", "--platform", "macosx_arm64", "--python", "cp312", "--json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    assert [(row["project"], row["version"], row["identifier"], row["verdict"], row["rule"]) for row in rows] == [
        ("markupsafe", "2.0.1", "cp312-macosx_arm64", "missing", "missing")
    ]


def test_missing_prints_a_table_for_people(kiln) -> None:
    result = kiln("missing", "pyyaml", "--platform", "manylinux_x86_64")
    assert result.exit_code == 0
    assert "pyyaml==5.4.1" in result.stdout
    assert "cp312-manylinux_x86_64" in result.stdout


def test_wrong_filters_are_reported_together(kiln) -> None:
    result = kiln("missing", "nosuch", "--platform", "solaris_sparc")
    assert result.exit_code == 2
    assert "nosuch: no recipe covers it" in result.stderr
    assert "'solaris_sparc' is none of" in result.stderr


def test_a_dead_upstream_is_one_clear_line(kiln, upstream: LoopbackUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every project is broken, none is invented, and the person is told."""
    monkeypatch.setenv("KILN_UPSTREAM", "http://127.0.0.1:1/simple/")
    result = kiln("missing", "markupsafe")
    assert result.exit_code == 3
    assert "markupsafe" in result.stderr
    assert "Traceback" not in result.stderr


def test_recipes_check_accepts_ours_and_reports_every_problem_of_others(kiln, tmp_path: Path, monkeypatch) -> None:
    assert kiln("recipes", "check").exit_code == 0
    wrong = tmp_path / "recipes" / "foo"
    wrong.mkdir(parents=True)
    shutil.copy(RECIPES / "defaults.toml", tmp_path / "recipes")
    (wrong / "recipe.toml").write_text('project = "bar"\nreson = "typo"\nversions = "~1"\n')
    monkeypatch.setenv("KILN_RECIPES", str(tmp_path / "recipes"))
    result = kiln("recipes", "check")
    assert result.exit_code == 2
    for word in ("project", "reson", "versions"):
        assert word in result.stderr
    rows = json.loads(kiln("recipes", "check", "--json").stdout)
    assert {"project", "reson", "versions"} <= {row["field"] for row in rows}


def test_recipes_new_writes_a_starter_that_checks_clean(kiln, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KILN_RECIPES", str(tmp_path / "recipes"))
    assert kiln("recipes", "new", "MarkupSafe").exit_code == 0
    assert kiln("recipes", "check").exit_code == 0
    again = kiln("recipes", "new", "markupsafe")
    assert again.exit_code == 2
    assert "markupsafe" in again.stderr


def test_run_refuses_names_that_no_recipe_covers(kiln) -> None:
    result = kiln("run", "nosuch", "markupsafe==9.9")
    assert result.exit_code == 2
    assert "kiln recipes new nosuch" in result.stderr
    assert "extend `versions`" in result.stderr


def test_run_wants_the_working_folder(kiln) -> None:
    result = kiln("run", "markupsafe")
    assert result.exit_code == 2
    assert "dagster.yaml" in result.stderr


def test_verify_says_which_wheel_it_cannot_read(kiln) -> None:
    result = kiln("verify", "nosuch.whl")
    assert result.exit_code == 6
    assert "nosuch.whl" in result.stderr


def test_verify_loads_no_dagster(tmp_path: Path) -> None:
    """An auditor waits for cryptography, not for an orchestrator."""
    code = "import sys, kiln_pipeline.cli.verifying; print([n for n in ('dagster', 'pandas') if n in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert answer.stdout.strip() == "[]"


def test_the_captured_pages_parse_without_a_skip() -> None:
    """What these tests stand on is what upstream really said."""
    for name in ("markupsafe", "pyyaml"):
        body = (DATA / "pages" / f"{name}.json").read_bytes()
        assert parse_project_page(body, project=name, base_url="https://files.example.org/simple/").skipped == ()
