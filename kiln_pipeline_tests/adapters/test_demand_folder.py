"""The folder of demand: real locks at any depth, one table of downloads, every problem at once."""

import shutil
from pathlib import Path

import pytest

from kiln_pipeline.adapters.demand_folder import load_demand
from kiln_pipeline.adapters.recipe_folder import load_recipes
from kiln_pipeline.core.demand import Demand
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.errors import RecipeError
from kiln_pipeline_tests.workspaces import DATA, RECIPES


def test_locks_are_known_by_their_path(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    shutil.copy(DATA / "locks" / "uv.lock", tmp_path / "shop")
    shutil.copy(DATA / "locks" / "pylock.toml", tmp_path)
    (tmp_path / "downloads.csv").write_text("project,version,downloads\nmarkupsafe,2.0.1,9\n")
    (tmp_path / "README.md").write_text("whose locks these are")
    demand = load_demand(tmp_path)
    assert demand.pins[Release.of("markupsafe", "2.0.1")] == ("pylock.toml", "shop/uv.lock")
    assert demand.pins[Release.of("wrapt", "1.14.1")] == ("shop/uv.lock",)
    assert Release.of("local-part", "0.3") not in demand.pins
    assert demand.downloads == {Release.of("markupsafe", "2.0.1"): 9}


def test_no_folder_is_no_demand(tmp_path: Path) -> None:
    assert load_demand(tmp_path / "nowhere") == Demand()


def test_every_problem_of_every_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "downloads.csv").write_text("project\n")
    (tmp_path / "uv.lock").write_text("version = 7")
    (tmp_path / "notes.doc").write_text("")
    with pytest.raises(RecipeError) as caught:
        load_demand(tmp_path)
    assert [Path(problem.file).name for problem in caught.value.problems] == ["downloads.csv", "notes.doc", "uv.lock"]


def test_the_folder_of_demand_is_no_recipe(tmp_path: Path) -> None:
    """It lies among the recipes; only a recipe.toml in it would make it one."""
    recipes = shutil.copytree(RECIPES, tmp_path / "recipes")
    before = [recipe.project for recipe in load_recipes(recipes)]
    (recipes / "demand").mkdir(exist_ok=True)
    assert [recipe.project for recipe in load_recipes(recipes)] == before
    (recipes / "demand" / "recipe.toml").write_text('project = "demand"\nreason = "x"\nversions = "==1"\n')
    assert [recipe.project for recipe in load_recipes(recipes)] == sorted([*before, "demand"])
    assert load_demand(recipes / "demand") == Demand()
