"""Demand: what locks pin, what is downloaded."""

import pytest

from kiln_pipeline.core.demand import Demand, demand_of, lock_pins, parse_downloads
from kiln_pipeline.core.distributions import Release
from kiln_pipeline.core.lockfiles.parse import parse_lock
from kiln_pipeline.errors import RecipeError

FOO, BAR = Release(project="foo", version="1.0"), Release(project="bar", version="2")


def test_pins_are_gathered_by_release_and_downloads_summed() -> None:
    one = parse_lock("foo==1.0\nbar==2 ; sys_platform == 'win32'\nbaz>1\n", file="b/requirements.txt", read=str)
    two = parse_lock("Foo==1.0\nlocal @ file:///local\n", file="a/requirements.txt", read=str)
    assert demand_of(lock_pins([("b/requirements.txt", one), ("a", two)]), [{FOO: 3}, {FOO: 4, BAR: 1}]) == Demand(
        pins={FOO: ("a", "b/requirements.txt"), BAR: ("b/requirements.txt",)}, downloads={FOO: 7, BAR: 1}
    )
    assert demand_of() == Demand()


def test_downloads_are_read_by_column_name() -> None:
    text = "version,project,downloads,note\n1.0,Foo,3,x\n1.0,foo,4,\n2,bar,0,\n"
    assert parse_downloads(text, file="downloads.csv") == {FOO: 7, BAR: 0}


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["downloads.csv: line 1: has no column project and no column version and no column downloads; the first line is"]),
        ("project,version\n", ["downloads.csv: line 1: has no column downloads; the first line is project,version,downloads"]),
        (
            "project,version,downloads\nfoo,one,1\nfoo,1,many\n-,1,1\nfoo\n",
            [
                "downloads.csv: line 2: Invalid version: 'one'",
                "downloads.csv: line 3: 'many' is no number of downloads",
                "downloads.csv: line 4: '-' is no valid project name",
                "downloads.csv: line 5: Invalid version: ''",
            ],
        ),
    ],
)
def test_every_wrong_line_is_reported(text: str, problems: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_downloads(text, file="downloads.csv")
    said = str(caught.value).splitlines()
    assert len(said) == len(problems)
    assert [line for line, problem in zip(said, problems, strict=True) if not line.startswith(problem)] == []
