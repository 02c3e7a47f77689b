"""The pages for people: what they say, that every link leads somewhere, and that only what changed is written."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from posixpath import normpath
from urllib.parse import unquote
from xml.etree import ElementTree

import feedparser
import pyarrow as pa
import pytest

from kiln_pipeline.adapters.page_templates import JinjaTemplates
from kiln_pipeline.core.attempts import Attempt
from kiln_pipeline.core.missing_wheels import MISSING_SCHEMA
from kiln_pipeline.core.rebuilds import Rebuild
from kiln_pipeline.core.recipes import Recipe
from kiln_pipeline.core.release_metadata import empty_projects
from kiln_pipeline.errors import StoreError
from kiln_pipeline.stages.index_check import check_site, mend_for_people
from kiln_pipeline.stages.package_pages import MANIFEST, PackagePagesReport, SiteIdentity, publish_package_pages
from kiln_pipeline.stages.record import record
from kiln_pipeline.stages.site_status import HISTORY, site_status
from kiln_pipeline_tests.audit_samples import FAILURE, HOSTS, LOG, STARTED, Silent, put_bundle, sample_bundle, sample_plan
from kiln_pipeline_tests.fakes import MemoryStore

IDENTITY = SiteIdentity(url="https://kiln.example.org/", repository="https://forge.example.org/kiln")
HOSTILE = """<script>alert("x")</script>' | `code` [link](javascript:1)"""


class Links(HTMLParser):
    """The links and ids of one page; any script source or event handler is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            assert not name.startswith("on"), f"<{tag} {name}>"
            if name in ("href", "action") and value is not None:
                self.links.append(value)
            if name == "id" and value is not None:
                self.ids.add(value)


def rows(*cells: tuple[str, str, str, str, str], project: str = "wrapt") -> pa.Table:
    """Rows from (version, identifier, verdict, rule, reason), whose last word is the wheel where there is any."""
    filled = [
        {
            **{field.name: "" if pa.types.is_string(field.type) else None for field in MISSING_SCHEMA},
            **{"project": project, "version": version, "identifier": identifier, "verdict": verdict, "rule": rule},
            **{"python": identifier.partition("-")[0], "platform": identifier.partition("-")[2], "reason": reason},
            **{"covered_by": reason.split()[-1] if verdict in ("published", "covered") else "", "sdist_size": 0},
            **{"priority": 0, "expects_extension": True},
        }
        for version, identifier, verdict, rule, reason in cells
    ]
    return pa.Table.from_pylist(filled, MISSING_SCHEMA)


class Site:
    """A site with a log of one wheel and one failure of wrapt 1.14.0, and its pages."""

    def __init__(self) -> None:
        self.site, self.state, inbox = MemoryStore(), MemoryStore(), MemoryStore()
        put_bundle(inbox, sample_bundle(sample_plan()))
        put_bundle(inbox, sample_bundle(sample_plan(python="cp310"), failure=FAILURE))
        self.attempts: tuple[Attempt, ...] = record(
            inbox=inbox, site=self.site, state=self.state, log_signer=LOG, hosts=HOSTS, recipes=None, progress=Silent()
        ).recorded
        (wheel,) = (attempt.wheel for attempt in self.attempts if attempt.wheel)
        self.recipes = [Recipe(project="wrapt", reason=HOSTILE, versions=(), pythons=(), platforms=(), sha256="1")]
        self.missing = rows(
            ("1.14.0", "cp310-macosx_arm64", "excluded", "failed", "failed 1×"),
            ("1.14.0", "cp311-macosx_arm64", "published", "published", f"published as {wheel}"),
            ("1.14.0", "cp312-macosx_arm64", "covered", "covered", "covered by wrapt-1.14.0-cp312-abi3-any.whl"),
            ("1.14.0", "cp313-macosx_arm64", "missing", "missing", HOSTILE),
            ("1.13.0", "cp313-macosx_arm64", "excluded", "no-sdist", "the release has no sdist to build from"),
        )
        self.superseded: set[str] = set()
        self.rebuilds: tuple[Rebuild, ...] = ()

    def publish(self, site: MemoryStore | None = None) -> PackagePagesReport:
        return publish_package_pages(
            recipes=self.recipes,
            missing=self.missing,
            statuses={},
            attempts=self.attempts,
            rebuilds=self.rebuilds,
            superseded=self.superseded,
            status=site_status(
                recipes=self.recipes,
                missing=self.missing,
                projects=empty_projects(),
                attempts=self.attempts,
                rebuilds=self.rebuilds,
                site=self.site,
                state=self.state,
                clock=STARTED + timedelta(hours=2),
                live=False,
            ),
            site=site or self.site,
            state=self.state,
            templates=JinjaTemplates(),
            identity=IDENTITY,
            progress=Silent(),
        )

    def page(self, key: str = "packages/wrapt/index.html") -> str:
        return self.site.get(key).decode()


@pytest.fixture
def made() -> Site:
    site = Site()
    assert site.publish() == PackagePagesReport(written=("wrapt",))
    return site


def test_a_cell_of_each_kind(made: Site):
    """Ours leads to the wheel, a failure to its log, everything else to its reason; colours are never all that tells."""
    cells = re.findall(r'<td class="(\w+)">(?:<a href="([^"]*)">)?([^<]*)', made.page())
    assert [(kind, text) for kind, _, text in cells][:4] == [
        ("failed", "failed"), ("ours", "ours"), ("upstream", "upstream"), ("missing", "missing"),
    ]  # fmt: skip
    wheel = next(attempt.wheel for attempt in made.attempts if attempt.wheel)
    assert cells[1][1] == f"../../wheels/{wheel}"
    assert ("cannot", "#why-3", "cannot") in cells
    values = json.loads(made.site.get("packages/wrapt/index.json"))
    assert [target["state"] for target in values["targets"]] == ["failed", "ours", "upstream", "missing", "cannot"]
    assert [item["class"] for item in values["failures"]] == ["compile"]


def test_provenance_in_words(made: Site):
    """Who built it from what with what, where the proof is, and the licence."""
    page = made.page()
    for text in ("by mac-mini-1 with cibuildwheel", "Cython==0.29.37", "wrapt-1.14.0.tar.gz", ".provenance.json", "Licence"):
        assert text in page
    made.superseded = {attempt.wheel for attempt in made.attempts if attempt.wheel}
    made.publish()
    assert "yanked: superseded by upstream" in made.page()


def internal(site: MemoryStore) -> Iterator[tuple[str, str]]:
    """Yield (page, link) of every link that leads into the site."""
    for key in site.keys():
        if key.endswith(".html") and not key.startswith("simple/"):
            for link in Links(site.get(key).decode()).links:
                if not re.match(r"[a-z]+:", link):
                    yield key, link


def test_every_internal_link_resolves(made: Site):
    """Files of the site exist, and so does the place in a page that a link names; the simple index is another stage's."""
    for key, link in internal(made.site):
        target, _, place = link.partition("#")
        path = normpath(f"{key.rpartition('/')[0]}/{unquote(target)}").lstrip("/") if target else key
        path = f"{path}/index.html" if target.endswith("/") else path
        if path.startswith(("simple/", "audit/README")):
            continue
        assert path.lstrip("./") in made.site.objects, (key, link)
        assert not place or place in Links(made.page(path)).ids, (key, link)


def test_markup_in_names_and_reasons_is_text(made: Site):
    """In HTML, in the feed and in Markdown."""
    for key in ("index.html", "packages/index.html", "packages/wrapt/index.html", "packages/feed.atom"):
        assert "<script>alert" not in made.page(key)
    assert "&lt;script&gt;alert" in made.page()
    assert "javascript:" not in "".join(Links(made.page()).links)
    ElementTree.fromstring(made.page("packages/feed.atom"))


def test_an_unchanged_run_writes_nothing_and_a_changed_one_only_its_project(made: Site):
    """What is noted in the state says so; the lists change with a project, and no other project's page does."""
    before = dict(made.site.objects)
    assert made.publish() == PackagePagesReport(unchanged=1)
    assert made.site.objects == before
    made.recipes.append(Recipe(project="other", reason="new", versions=(), pythons=(), platforms=(), sha256="2"))
    assert made.publish() == PackagePagesReport(written=("other",), unchanged=1)
    changed = {key for key in made.site.objects if made.site.objects[key] != before.get(key)}
    assert changed == {
        "PACKAGES.md", "index.html", "packages/index.html", "packages/other/index.html", "packages/other/index.json",
        "packages/index.json",
    }  # fmt: skip
    made.recipes.pop()
    assert made.publish() == PackagePagesReport(removed=("other",), unchanged=1)
    assert made.site.objects == before


def test_drift_is_found_and_mended(made: Site):
    """A page that was altered, one that is gone and one that nobody owns: found by name, and the next run has it as it was."""
    sound = dict(made.site.objects)
    assert not [item for item in check_site(made.site, made.state, progress=Silent()) if item.is_for_people]
    made.site.objects["packages/wrapt/index.html"] += b"<p>more</p>"
    del made.site.objects["index.html"]
    made.site.objects["packages/evil/index.html"] = b"evil"
    findings = check_site(made.site, made.state, progress=Silent())
    assert [(item.key, str(item.drift)) for item in findings if item.is_for_people] == [
        ("index.html", "missing"), ("packages/evil/index.html", "unowned"), ("packages/wrapt/index.html", "altered"),
    ]  # fmt: skip
    assert mend_for_people(findings, made.site, made.state)
    made.publish()
    assert made.site.objects == sound


def test_a_project_with_2000_releases_is_cut_into_small_pages():
    """Under 100 kB each, newest first, with links between them; one with none says so."""
    made = Site()
    cells = [
        (f"1.{number}.0", f"{python}-{platform}", "covered", "covered", f"covered by a-1.{number}-{python}-abi3-{platform}.whl")
        for number in range(2000)
        for platform in ("macosx_arm64", "manylinux_x86_64")
        for python in ("cp311", "cp312")
    ]  # fmt: skip
    made.missing = rows(*cells)
    made.recipes.append(Recipe(project="empty", reason="nothing yet", versions=(), pythons=(), platforms=(), sha256="2"))
    made.publish()
    pages = {key: data for key, data in made.site.objects.items() if key.startswith("packages/wrapt/") and key.endswith(".html")}
    assert 10 < len(pages) < 100
    assert max(map(len, pages.values())) < 100_000
    assert "1.1999.0" in made.page()
    assert "1.0.0" in made.page(f"packages/wrapt/releases-{len(pages)}.html")
    assert "No release of it is wanted by now" in made.page("packages/empty/index.html")


class Failing(MemoryStore):
    """A store that fails at one write."""

    def __init__(self, objects: dict[str, bytes], at: int) -> None:
        super().__init__()
        self.objects, self.left = objects, at

    def put(self, key: str, data: bytes) -> None:
        self.left -= 1
        if self.left < 0:
            raise StoreError(key=key, reason="the disk is full")
        super().put(key, data)


def test_a_run_that_was_cut_off_anywhere_is_finished_by_the_next():
    """To the same bytes, and with no page that links to what is not there."""
    whole = Site()
    whole.publish()
    for at in range(10):
        made = Site()
        with pytest.raises(StoreError):
            made.publish(Failing(made.site.objects, at))
        assert MANIFEST not in made.state.objects
        made.publish()
        assert made.site.objects == whole.site.objects


def test_the_last_word_on_each_python_stands_in_packages_md(made: Site):
    """The original's shape: OS, architecture, version, Pythons with success or failure; no later failure undoes a success."""
    assert "| macOS | arm64 | 1.14.0 | 3.10 ❌ (compile) 3.11 ✅ |" in made.page("PACKAGES.md")
    (success,) = (attempt for attempt in made.attempts if attempt.wheel)
    later = replace(
        success, wheel="", failure="timeout", proof="slow", index=7, statement_sha256=made.attempts[1].statement_sha256
    )
    made.attempts = (*made.attempts, later)
    made.publish()
    assert "3.11 ✅ |" in made.page("PACKAGES.md")


def test_templates_that_lack_a_value_are_an_error():
    """A gap on a page is noticed here, not by a reader."""
    with pytest.raises(Exception, match="undefined"):
        JinjaTemplates().render("package.html", {"root": ""})


def test_what_is_not_on_the_site_is_said_and_linked_again_once_it_is_there(made: Site):
    """A half-published state: no log, no statement, no wheel; nothing on the page leads to them, and the next run looks again."""
    sound, (success,) = dict(made.site.objects), (attempt for attempt in made.attempts if attempt.wheel)
    (failed,) = (attempt for attempt in made.attempts if not attempt.wheel)
    lost = [
        f"wheels/{success.wheel}", f"audit/logs/{failed.log_sha256}.log.gz", f"audit/entries/{success.statement_sha256}.json",
    ]  # fmt: skip
    for key in lost:
        del made.site.objects[key]
    made.state.objects = {HISTORY: made.state.objects[HISTORY]}
    made.publish()
    page = made.page()
    for text in (
        "its log is not on the site just now",
        "its statement is not on the site just now",
        "(not on the site just now)",
    ):
        assert text in page
    assert not {f"../../{key}" for key in lost} & set(Links(page).links)
    assert lost[0] in json.loads(made.site.get("packages/wrapt/index.json"))["absent"]
    made.site.objects |= {key: sound[key] for key in lost}
    assert made.publish().written == ("wrapt",)
    assert made.site.objects == sound
    assert made.publish() == PackagePagesReport(unchanged=1)


def test_the_status_is_as_of_the_newest_record_and_stays_until_there_is_another(made: Site):
    """A later clock changes no byte; a change of the counts does, and is a row of the history."""
    values = json.loads(made.site.get("status/index.json"))
    assert [(rate["span"], rate["succeeded"], rate["failed"]) for rate in values["attempts"]][:1] == [("the last hour", 0, 0)]
    assert values["as_of"] == "2026-11-01T14:00:00.250000Z", "when the counts were noted"
    assert [(queue["platform"], queue["missing"]) for queue in values["queue"]] == [("macosx_arm64", 1)]
    assert values["log"]["size"] == 2
    before = dict(made.site.objects)
    assert made.publish() == PackagePagesReport(unchanged=1)
    assert made.site.objects == before
    made.missing = made.missing.slice(0, 3)
    made.publish()
    assert json.loads(made.site.get("status/index.json"))["queue"][0]["missing"] == 0


def test_a_feed_reader_reads_the_feed(made: Site):
    """Atom, by the parser that most readers use."""
    feed = feedparser.parse(made.page("packages/feed.atom"))
    assert not feed.bozo
    assert feed.version == "atom10"
    (success,) = (attempt for attempt in made.attempts if attempt.wheel)
    assert [entry.id for entry in feed.entries] == [f"https://kiln.example.org/wheels/{success.wheel}"]
