"""Releases on a server that behaves as GitHub does and fails as it does: whole ones only, once, and never with other bytes."""

import random
from collections.abc import Iterator

import pytest

from kiln_pipeline.adapters.github_releases import GitHubReleases, asset_name
from kiln_pipeline.errors import ObjectExists, StoreError
from kiln_pipeline_tests.github_server import FAULTS, TOKEN, GitHubServer, now

WHEEL = "torch-2.1.0+cpu-1-cp311-cp311-manylinux_2_28_x86_64.whl"
FILES = {f"{WHEEL}.metadata": b"Name: torch", f"{WHEEL}.provenance.json": b"{}", WHEEL: b"PK" + bytes(1000)}


@pytest.fixture
def github() -> Iterator[GitHubServer]:
    with GitHubServer() as server:
        yield server


def page(
    github: GitHubServer, *, token: str = TOKEN, repository: str = "owner/wheels", waits: list[float] | None = None
) -> GitHubReleases:
    sleep = (lambda _: None) if waits is None else waits.append
    return GitHubReleases(repository, token=token, api=github.url, sleep=sleep, clock=now)


def test_a_wheel_is_released_with_what_belongs_to_it_and_then_left_alone(github: GitHubServer) -> None:
    assert page(github).publish(WHEEL, FILES, "notes") is True
    assert github.visible() == {WHEEL: FILES}
    (release,) = github.releases.values()
    assert (release["name"], release["body"], release["make_latest"]) == (WHEEL, "notes", "false")
    assert [asset["name"] for asset in github.assets.values()] == [asset_name(name) for name in FILES]
    before = list(github.mutations)
    assert page(github).publish(WHEEL, FILES, "notes") is False
    assert github.mutations == before


def test_the_draft_is_published_only_when_all_files_are_there(github: GitHubServer) -> None:
    page(github).publish(WHEEL, FILES, "")
    kinds = [request.split("?")[0].split("/")[0] + request.split("?")[0].rsplit("/", 1)[1] for request in github.mutations]
    assert kinds == ["POST releases", "POST assets", "POST assets", "POST assets", "PATCH 1"]


@pytest.mark.parametrize("fault", FAULTS)
def test_any_fault_of_any_request_is_got_over(fault: str) -> None:
    """One fault at each request in turn: the release ends whole, once, with no draft and no half of a file left."""
    for at in range(6):
        with GitHubServer() as github:
            github.faults = [*[None] * at, fault]  # type: ignore[list-item]
            page(github).publish(WHEEL, FILES, "")
            check_end(github, {WHEEL: FILES})


@pytest.mark.parametrize("seed", range(12))
def test_faults_by_chance_and_runs_that_give_up(seed: int) -> None:
    """A third of the requests fail, for several wheels: whoever looks sees whole releases only, and the last run ends it."""
    rng = random.Random(seed)
    wheels = {
        f"foo-{number}.0-1-cp311-cp311-macosx_11_0_arm64.whl": {f"a{number}": b"a", f"b{number}": b"b"} for number in range(4)
    }

    def whole(tag: str, files: dict[str, bytes]) -> None:
        assert files == wheels[tag]

    with GitHubServer(digests=bool(seed % 2), page=2) as github:
        github.promise, github.chance = whole, (rng, 0.3)
        for _ in range(20):
            try:
                for tag, files in wheels.items():
                    page(github).publish(tag, files, "")
            except StoreError:
                continue
            break
        github.chance = None
        for tag, files in wheels.items():
            page(github).publish(tag, files, "")
        assert github.broken == []
        check_end(github, wheels)


def test_waits_are_what_github_asks_for(github: GitHubServer) -> None:
    waits: list[float] = []
    github.faults, github.retry_after = ["429", "403-rate", "500"], "17"
    page(github, waits=waits).publish(WHEEL, FILES, "")
    assert waits == [17.0, 6.0, 8.0]


def test_a_long_wait_is_left_to_the_next_run(github: GitHubServer) -> None:
    github.faults, github.retry_after = ["429"], "3000"
    with pytest.raises(StoreError, match=r"owner/wheels: GitHub's rate limit is used up for 3000 s more \(the next run goes on"):
        page(github).publish(WHEEL, FILES, "")


def test_a_released_file_is_never_replaced(github: GitHubServer) -> None:
    page(github).publish(WHEEL, FILES, "")
    before = list(github.mutations)
    with pytest.raises(ObjectExists, match=r"owner/wheels .* exists already with other bytes"):
        page(github).publish(WHEEL, {**FILES, WHEEL: b"other"}, "")
    assert github.mutations == before
    assert github.visible() == {WHEEL: FILES}


def test_a_released_file_that_somebody_removed_comes_back(github: GitHubServer) -> None:
    page(github).publish(WHEEL, FILES, "")
    del github.assets[next(iter(github.assets))]
    assert page(github).publish(WHEEL, FILES, "") is True
    assert github.visible() == {WHEEL: FILES}


def test_a_double_of_a_lost_answer_goes_and_drafts_of_others_stay(github: GitHubServer) -> None:
    for number, tag in enumerate([WHEEL, WHEEL, "v1", "v1"], 100):
        github.releases[number] = {"id": number, "tag_name": tag, "draft": True}
    page(github).publish(WHEEL, FILES, "")
    assert [(each["tag_name"], each["draft"]) for each in github.releases.values()] == [
        (WHEEL, False),
        ("v1", True),
        ("v1", True),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token": ""}, "github://owner/wheels: there is no token for it (put a token that may write"),
        ({"token": "wrong"}, "github://owner/wheels: GitHub answered 401: Bad credentials (put a token"),
        ({"repository": "owner/none"}, "github://owner/none: GitHub answered 404: Not Found (is there a repository owner/none"),
    ],
)
def test_a_refusal_says_what_to_do(github: GitHubServer, changes: dict[str, str], message: str) -> None:
    with pytest.raises(StoreError) as caught:
        page(github, **changes).publish(WHEEL, FILES, "")
    assert message in str(caught.value)
    assert github.mutations == []


def test_a_server_that_is_not_there_is_told() -> None:
    nowhere = GitHubReleases("owner/wheels", token=TOKEN, api="http://127.0.0.1:1", sleep=lambda _: None)
    with pytest.raises(StoreError, match=r"GitHub cannot be reached, several times \(ConnectionError\)"):
        nowhere.publish(WHEEL, FILES, "")


def check_end(github: GitHubServer, wheels: dict[str, dict[str, bytes]]) -> None:
    assert github.visible() == wheels
    assert len(github.releases) == len(wheels)
    releases = {asset["release"] for asset in github.assets.values()}
    assert all(asset["state"] == "uploaded" for asset in github.assets.values())
    assert releases == set(github.releases)
