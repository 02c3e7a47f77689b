"""What upstream lists for the releases that our recipes want, as ``data/recipe_files.csv``. Run it after adding a recipe:

python -m kiln_pipeline_tests.recipes.capture
"""

import csv
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from packaging.version import Version

from kiln_pipeline.adapters.recipe_folder import load_recipes
from kiln_pipeline.adapters.upstream import SimpleApiUpstream
from kiln_pipeline.core.distributions import DistributionFile, ProjectPage
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.simple_index.filenames import parse_filename
from kiln_pipeline.ports import UpstreamIndex

RECIPES = Path(__file__).parents[2] / "recipes"
PATH = Path(__file__).parents[1] / "data" / "recipe_files.csv"
FIELDS = ("project", "filename", "requires_python", "uploaded", "yanked")


def captured_pages() -> dict[str, ProjectPage]:
    """Return the pages by project; hashes, sizes and addresses were left out, and are made up here."""
    files: dict[str, list[DistributionFile]] = {}
    with PATH.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            kind, version = parse_filename(row["filename"], row["project"])
            files.setdefault(row["project"], []).append(
                DistributionFile(
                    filename=row["filename"],
                    url=f"https://files.example.org/{row['filename']}",
                    kind=kind,
                    version=version,
                    sha256="0" * 64,
                    size=1,
                    requires_python=row["requires_python"],
                    upload_time=datetime.fromisoformat(row["uploaded"]),
                    yanked=row["yanked"] == "yes",
                )
            )
    return {project: ProjectPage(project=project, files=tuple(found)) for project, found in files.items()}


def _rows(upstream: UpstreamIndex, recipes: tuple[Recipe, ...]) -> Iterator[dict[str, str]]:
    for recipe in recipes:
        found = upstream.project_page(recipe.project)
        assert found is not None
        for file in found.page.files:
            if recipe.wants(Version(file.version)) and file.upload_time:
                yield {
                    "project": recipe.project,
                    "filename": file.filename,
                    "requires_python": file.requires_python,
                    "uploaded": file.upload_time.isoformat(timespec="seconds"),
                    "yanked": "yes" if file.yanked else "no",
                }


if __name__ == "__main__":
    from pypi_simple import PYPI_SIMPLE_ENDPOINT

    lines = list(_rows(SimpleApiUpstream(PYPI_SIMPLE_ENDPOINT), load_recipes(RECIPES)))
    with PATH.open("w", encoding="utf-8", newline="") as output:
        writer = csv.DictWriter(output, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
