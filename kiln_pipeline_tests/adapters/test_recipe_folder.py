"""The folder of recipes on disk: what is wrong with files is reported like what is wrong in them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from kiln_pipeline.adapters.recipe_folder import STARTER_DEFAULTS, check_recipes, load_recipes, new_recipe
from kiln_pipeline.core.distributions import DistributionFile, FileKind, ProjectPage
from kiln_pipeline.errors import Problem, RecipeError, StoreError

REPOSITORY = Path(__file__).parents[2]
NOW = datetime(2026, 11, 25, tzinfo=UTC)
MINIMAL = 'project = "foo"\nreason = "no wheels"\nversions = "==1.0"\n'


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    (tmp_path / "foo").mkdir()
    (tmp_path / "defaults.toml").write_text(STARTER_DEFAULTS)
    (tmp_path / "foo" / "recipe.toml").write_text(MINIMAL)
    return tmp_path


def sdist(version: str, *, yanked: bool = False) -> DistributionFile:
    return file_of(f"foo-{version}.tar.gz", version, FileKind.SDIST, yanked=yanked)


def file_of(filename: str, version: str, kind: FileKind, *, yanked: bool = False) -> DistributionFile:
    return DistributionFile(
        filename=filename,
        url=f"https://files.example.org/{filename}",
        kind=kind,
        version=version,
        sha256="0" * 64,
        size=1,
        upload_time=datetime(2021, 5, 18, tzinfo=UTC),
        yanked=yanked,
    )


def test_the_repositorys_own_recipes_are_read() -> None:
    """No problem in them, and the demo is exactly the two releases that build in a minute."""
    loaded = load_recipes(REPOSITORY / "recipes")
    assert [recipe.project for recipe in loaded] == sorted(recipe.project for recipe in loaded)
    assert [(recipe.project, recipe.demo) for recipe in loaded if recipe.demo] == [
        ("markupsafe", ("2.0.1",)),
        ("pyyaml", ("5.4.1",)),
    ]
    assert check_recipes(REPOSITORY / "recipes") == ()


def test_starter_defaults_are_the_repositorys() -> None:
    assert (REPOSITORY / "recipes" / "defaults.toml").read_text() == STARTER_DEFAULTS


def test_problems_of_files_and_in_files_come_together(recipes: Path) -> None:
    """A folder without a recipe, bytes that are not UTF-8, a stray file and a bad value, all in one answer."""
    (recipes / "empty").mkdir()
    (recipes / ".git").mkdir()
    (recipes / "latin").mkdir()
    (recipes / "latin" / "recipe.toml").write_bytes(b'reason = "caf\xe9"\n')
    (recipes / "bar.toml").write_text(MINIMAL)
    (recipes / "foo" / "recipe.toml").write_text(MINIMAL + "priority = true\n")
    expected = (
        Problem(
            file=f"{recipes}/bar.toml",
            field="",
            message=f"is no recipe here; a recipe is {recipes}/PROJECT/recipe.toml, move it there",
        ),
        Problem(file=f"{recipes}/empty/recipe.toml", field="", message="is missing; write it, or remove the folder"),
        Problem(file=f"{recipes}/foo/recipe.toml", field="priority", message="is a boolean; write an integer"),
        Problem(file=f"{recipes}/latin/recipe.toml", field="", message="is not UTF-8 (byte 13); save it as UTF-8"),
    )
    assert check_recipes(recipes) == expected


def test_a_missing_folder_and_missing_defaults_are_problems(tmp_path: Path) -> None:
    missing = tmp_path / "recipes"
    hint = "run kiln in the folder that holds it, or write a first recipe"
    assert check_recipes(missing) == (Problem(file=str(missing), field="", message=f"does not exist; {hint}"),)
    assert check_recipes(tmp_path) == (Problem(file=f"{tmp_path}/defaults.toml", field="", message="is missing; write it"),)


def test_a_recipe_that_is_a_folder_cannot_be_read(recipes: Path) -> None:
    (recipes / "bar" / "recipe.toml").mkdir(parents=True)
    message = "cannot be read: Is a directory; see to the file"
    assert check_recipes(recipes) == (Problem(file=f"{recipes}/bar/recipe.toml", field="", message=message),)


def test_line_ends_are_recorded_as_they_stand(recipes: Path) -> None:
    """The recorded text is the file's bytes, so its hash can be checked against the repository's."""
    (recipes / "foo" / "recipe.toml").write_bytes(MINIMAL.replace("\n", "\r\n").encode())
    (recipe,) = load_recipes(recipes)
    assert recipe.text == STARTER_DEFAULTS + "\n" + MINIMAL.replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("files", "versions", "prereleases"),
    [
        ((sdist("1.9"), sdist("1.10"), sdist("2.0", yanked=True), sdist("3.0rc1")), "==1.10", False),
        ((sdist("1.9"), file_of("foo-2.0-py3-none-any.whl", "2.0", FileKind.WHEEL)), "==1.9", False),
        ((sdist("3.0rc1"),), "==3.0rc1", True),
    ],
    ids=["neither yanked nor a pre-release", "with an sdist", "only pre-releases"],
)
def test_a_new_recipe_names_the_newest_release_with_an_sdist(
    tmp_path: Path, files: tuple[DistributionFile, ...], versions: str, prereleases: bool
) -> None:
    """It is read without a problem, in a folder that was empty before."""
    path = new_recipe(tmp_path / "recipes", "Foo", page=ProjectPage(project="foo", files=files), now=NOW)
    (recipe,) = load_recipes(tmp_path / "recipes")
    assert (path, recipe.project, str(recipe.versions[0]), recipe.prereleases) == (
        tmp_path / "recipes" / "foo" / "recipe.toml",
        "foo",
        versions,
        prereleases,
    )
    assert sorted(entry.name for entry in (tmp_path / "recipes").rglob("*")) == ["defaults.toml", "foo", "recipe.toml"]


def test_every_commented_line_of_a_new_recipe_is_right(tmp_path: Path) -> None:
    """Taking the comment signs away gives a recipe without a problem: the starter teaches the real format."""
    path = new_recipe(tmp_path, "foo", page=None, now=NOW)
    words, _, table = path.read_text().partition("project = ")
    assert all(line.startswith("#") or not line for line in words.splitlines())
    path.write_text("\n".join(line.removeprefix("# ") for line in f"project = {table}".splitlines()))
    assert check_recipes(tmp_path) == ()


def test_a_recipe_is_never_overwritten(recipes: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        new_recipe(recipes, "foo", page=None, now=NOW)
    message = "exists already; edit it, or remove it first"
    assert caught.value.problems == (Problem(file=f"{recipes}/foo/recipe.toml", field="", message=message),)
    assert (recipes / "foo" / "recipe.toml").read_text() == MINIMAL
    assert list((recipes / "foo").iterdir()) == [recipes / "foo" / "recipe.toml"]


def test_no_recipe_for_what_cannot_be_built(tmp_path: Path) -> None:
    """An invalid name, or a project without any sdist, leaves nothing behind."""
    with pytest.raises(RecipeError, match="no valid project name"):
        new_recipe(tmp_path, "../evil", page=None, now=NOW)
    with pytest.raises(RecipeError, match="no sdist"):
        new_recipe(tmp_path, "foo", page=ProjectPage(project="foo", files=(sdist("1.0", yanked=True),)), now=NOW)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "recipes").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written: Not a directory"):
        new_recipe(tmp_path / "recipes", "foo", page=None, now=NOW)
