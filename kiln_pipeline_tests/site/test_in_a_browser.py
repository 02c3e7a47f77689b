"""The pages for people in Chromium: what two checkers, for accessibility and HTML, say; by keyboard; without JavaScript."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from posixpath import normpath
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from kiln_pipeline.adapters.site_server import SiteServer
from kiln_pipeline_tests.fakes import MemoryStore
from kiln_pipeline_tests.sample_site import make_site
from kiln_pipeline_tests.stages.test_package_pages import Links

pytestmark = pytest.mark.slow
CHROMIUM = Path("/usr/bin/chromium")
CHECKERS = Path(__file__).parents[2] / ".ci" / "pages"
PAGES = ("", "packages/", "packages/wrapt/", "packages/mysqlclient/", "packages/zope-interface/", "status/")
LOOKS = ((1280, "light"), (390, "dark"))


@pytest.fixture(scope="module")
def made() -> MemoryStore:
    site = MemoryStore()
    make_site(site, MemoryStore())
    return site


@pytest.fixture(scope="module")
def folder(made: MemoryStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    for key, data in made.objects.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with SiteServer(folder) as server:
        yield server.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip("there is no browser: install chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])


@pytest.fixture(scope="module")
def axe() -> str:
    path = CHECKERS / "node_modules" / "axe-core" / "axe.min.js"
    if not path.exists():
        pytest.skip("there is no axe-core: npm install --ignore-scripts --prefix .ci/pages")
    return path.read_text()


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_no_page_has_an_accessibility_finding_nor_a_sideways_scroll(
    browser: Browser, url: str, axe: str, width: int, scheme: str, tmp_path: Path
):
    """By axe-core with all of its rules, at desktop and phone width, light and dark; what scrolls sideways is a table alone."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    found: list[str] = []
    for name in PAGES:
        page.goto(url + name)
        page.evaluate(axe)
        found += [
            f"{name} {item['id']} ({item['impact']}): {[node['html'][:120] for node in item['nodes'][:3]]}"
            for item in page.evaluate("axe.run()")["violations"]
        ]
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        found += [f"{name} is {overflow} px too wide at {width}"] if overflow > 0 else []
        picture = page.screenshot(path=tmp_path / f"{name.strip('/').replace('/', '-') or 'home'}-{width}-{scheme}.png")
        assert len(picture) > 5_000, "a page without anything on it"
    page.close()
    assert found == []


def focused(page: Page) -> str:
    return str(page.evaluate("(document.activeElement.textContent || document.activeElement.id).trim()"))


def test_a_project_is_found_by_keyboard_alone(browser: Browser, url: str):
    """Skip link first; then the search box, a name, Enter, and the list shows that one alone; its link leads to its page."""
    page = browser.new_page()
    page.goto(url)
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused(page) == "q"
    page.keyboard.type("Wrapt")
    page.keyboard.press("Enter")
    page.wait_for_url("**/packages/?q=Wrapt")
    assert page.locator("tbody tr:visible").all_text_contents()[0].startswith("wrapt")
    assert page.locator("tbody tr:visible").count() == 1
    assert page.locator("#found").text_content() == "1 project"
    page.locator("tbody tr:visible a").press("Enter")
    page.wait_for_url("**/packages/wrapt/")
    page.close()


def test_without_javascript_every_page_says_the_same(browser: Browser, url: str):
    """The search leads to the whole list, and no error is logged with JavaScript on."""
    bare = browser.new_context(java_script_enabled=False).new_page()
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    for name in PAGES:
        bare.goto(url + name)
        page.goto(url + name)
        assert bare.locator("main h1").text_content() == page.locator("main h1").text_content()
        assert bare.locator("main td").all_text_contents() == page.locator("main td").all_text_contents()
    bare.goto(url)
    bare.fill("#q", "wrapt")
    bare.press("#q", "Enter")
    assert bare.locator("tbody tr").count() == 8
    assert errors == []


def test_html_is_valid(folder: Path):
    """By html-validate, every page for people but the many further ones of the big projects."""
    if not (CHECKERS / "node_modules" / "html-validate").exists():
        pytest.skip("there is no html-validate: npm install --ignore-scripts --prefix .ci/pages")
    pages = [str(folder / f"{name}index.html") for name in PAGES]
    program = ["node", "validate.mjs", *pages]
    answer = subprocess.run(program, cwd=CHECKERS, check=False, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_every_internal_link_of_the_whole_site_resolves_and_every_page_is_small(made: MemoryStore):
    """Also in the projects with thousands of upstream files: files are there, and so are the places in pages."""
    pages = {key: data for key, data in made.objects.items() if key.endswith(".html") and not key.startswith("simple")}
    parsed = {key: Links(data.decode()) for key, data in pages.items()}
    dead: list[tuple[str, str]] = []
    for key, page in parsed.items():
        for link in set(page.links):
            if re.match(r"[a-z]+:", link):
                continue
            target, _, place = link.partition("#")
            path = normpath(f"{key.rpartition('/')[0]}/{unquote(target)}").lstrip("/") if target else key
            path = f"{path}/index.html" if target.endswith("/") else path
            path = path.removeprefix("./")
            there = path in made.objects or path == "simple/zope-interface/index.html"
            if not there or (place and place not in parsed[path].ids):
                dead.append((key, link))
    assert dead == []
    assert {key: len(data) for key, data in pages.items() if len(data) >= 100_000} == {}
