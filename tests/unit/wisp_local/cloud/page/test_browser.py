"""The page in a real browser, over TLS, of a cloud that made real exchanges."""

import itertools
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.unit.wisp_local.cloud.page.browser import Exchanges, Scheme, chromium, open_window, walkthrough_exchanges
from tests.unit.wisp_local.cloud.process import running

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs("chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """Give one browser for all."""
    with chromium() as found:
        yield found


@pytest.fixture
def exchanges(tmp_path: Path) -> Generator[Exchanges]:
    """Give a cloud that granted an exchange and refused one."""
    with running(tmp_path / "cloud.db") as cloud:
        made = walkthrough_exchanges(cloud)
        made.grant()
        assert made.refuse() == 700213
        yield made


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_page_works_with_and_without_scripts(browser: Browser, exchanges: Exchanges, *, scripts: bool) -> None:
    """List, refusal with its difference and remedy, decoded token, the token on demand: all without a script, too."""
    with open_window(browser, scripts=scripts) as window:
        page = window.page
        page.goto(f"{exchanges.cloud.url}/")
        rows = page.locator("[data-live] tbody tr")
        expect(rows).to_have_count(2)
        expect(rows.nth(0)).to_contain_text("Subject namespace is default, not kube-system")
        rows.nth(0).get_by_role("link").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("namespace is default, not kube-system")
        expect(page.locator(".compared mark.presented")).to_have_text("default")
        expect(page.locator(".compared mark.expected")).to_have_text("kube-system")
        expect(page.locator("pre").first).to_contain_text("az identity federated-credential update")
        page.get_by_role("link", name="All exchanges").click()
        page.locator("[data-live] tbody tr").nth(1).get_by_role("link").click()
        expect(page.get_by_text("Signature: verified with this cloud")).to_be_visible()
        assert page.locator(".token").count() == 0
        page.get_by_role("button", name="Show the token").click()
        expect(page.locator(".token")).to_have_text(re.compile(r"^[\w-]+\.[\w-]+\.[\w-]+$"))
        page.get_by_role("link", name="Hide the token").click()
        expect(page.locator(".token")).to_have_count(0)
        assert window.problems == []
        assert {url.split("/")[2] for url in window.requested} == {exchanges.cloud.url.split("/")[2]}


def test_new_exchange_appears_without_a_reload(browser: Browser, exchanges: Exchanges) -> None:
    """A screen reader announces it politely, and the focus stays."""
    with open_window(browser) as window:
        page = window.page
        page.goto(f"{exchanges.cloud.url}/")
        page.evaluate("document.body.dataset.same = 'yes'")
        rows = page.locator("[data-live] tbody tr")
        expect(rows).to_have_count(2)
        rows.nth(0).get_by_role("link").focus()
        assert exchanges.refuse(slash=False) == 700211
        expect(rows).to_have_count(3)
        expect(rows.nth(0)).to_contain_text("Issuer lacks the trailing slash")
        expect(page.get_by_role("status")).to_have_text(re.compile("Refused: issuer lacks the trailing slash"))
        assert page.get_by_role("status").get_attribute("aria-live") == "polite"
        assert page.evaluate("document.activeElement.closest('tr') === document.querySelectorAll('[data-live] tr')[2]")
        assert page.evaluate("document.body.dataset.same") == "yes"
        assert window.problems == []


def test_paused_list_requests_nothing(browser: Browser, exchanges: Exchanges) -> None:
    """WCAG 2.2 AA, 2.2.2: nothing is even asked for, until it goes on; the browser's clock is ours."""
    with open_window(browser) as window:
        page = window.page
        page.clock.install()
        page.goto(f"{exchanges.cloud.url}/")
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("button", name="Pause")).to_have_attribute("aria-pressed", "true")
        expect(page.locator("[data-state]")).to_have_text("Paused")
        window.requested.clear()  # a slow browser has asked for news before it was told to pause
        exchanges.grant()
        page.clock.run_for(10_000)
        assert not [each for each in window.requested if "news" in each]
        page.get_by_role("button", name="Pause").click()
        page.clock.run_for(2_000)
        expect(page.locator("[data-live] tbody tr")).to_have_count(3)


def test_first_exchange_replaces_the_empty_list(browser: Browser, tmp_path: Path) -> None:
    """An empty list explains itself, then fills."""
    with running(tmp_path / "cloud.db") as cloud, open_window(browser) as window:
        window.page.goto(f"{cloud.url}/")
        expect(window.page.get_by_text("No token has been requested yet")).to_be_visible()
        walkthrough_exchanges(cloud).grant()
        expect(window.page.locator("[data-live] tbody tr")).to_have_count(1)
        expect(window.page.get_by_text("No token has been requested yet")).to_have_count(0)


def test_list_is_reloaded_after_a_restart_of_the_server(browser: Browser, exchanges: Exchanges) -> None:
    """The page notices that its list is another server's, and says so while no server answers."""
    with open_window(browser) as window:
        page = window.page
        page.goto(f"{exchanges.cloud.url}/")
        expect(page.locator("[data-live] tbody tr")).to_have_count(2)
        assert exchanges.cloud.end() == 0
        expect(page.locator("[data-state]")).to_have_text("The server does not answer")
        port = int(exchanges.cloud.url.rpartition(":")[2])
        with running(exchanges.cloud.state, port=port):
            expect(page.get_by_text("No token has been requested yet")).to_be_visible()


def test_everything_is_reachable_by_keyboard(browser: Browser, exchanges: Exchanges) -> None:
    """Tab goes first to the skip link, then through the page in its order; what has focus is seen to have it."""
    with open_window(browser) as window:
        page = window.page
        page.goto(f"{exchanges.cloud.url}/")
        names = []
        for _ in range(9):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "() => {const e = document.activeElement, s = getComputedStyle(e);"
                " const name = e.getAttribute('aria-label') ?? e.textContent;"
                " return [name.trim(), s.outlineStyle, e.matches(':focus-visible')]}"
            )
            assert focused[1:] == ["solid", True], focused
            names.append(focused[0])
        start = [
            "Skip to the content",
            "wisp cloud",
            "Exchanges",
            "Identities",
            "Clusters and issuers",
            "Pause",
            "Token exchanges",
        ]
        assert names[:7] == start
        assert [each.partition(",")[2] for each in names[7:]] == [" refused: details", " granted: details"]
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("refused")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"


def _nodes(page: Page) -> list[dict[str, Any]]:
    session = page.context.new_cdp_session(page)
    nodes: list[dict[str, Any]] = session.send("Accessibility.getFullAXTree")["nodes"]
    return [each for each in nodes if not each.get("ignored")]


def _roles(page: Page) -> list[tuple[str, str]]:
    return [(each["role"]["value"], each.get("name", {}).get("value", "")) for each in _nodes(page)]


def test_accessibility_tree_has_names_landmarks_and_headings(browser: Browser, exchanges: Exchanges) -> None:
    """There is one main, one first heading, no skipped level, and every control and table has a name."""
    with open_window(browser) as window:
        for path in _paths(window.page, exchanges):
            window.page.goto(f"{exchanges.cloud.url}{path}")
            roles = _roles(window.page)
            names = [role for role, _ in roles]
            assert [names.count(each) for each in ("main", "banner", "contentinfo")] == [1, 1, 1]
            for role, name in roles:
                assert name.strip() or role not in ("link", "button", "table", "region", "navigation", "heading"), role
            levels = [
                next(int(p["value"]["value"]) for p in each["properties"] if p["name"] == "level")
                for each in _nodes(window.page)
                if each["role"]["value"] == "heading"
            ]
            assert levels.count(1) == 1
            assert levels[0] == 1
            assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
            assert "columnheader" in names
            assert "rowheader" in names
            assert window.page.evaluate("document.documentElement.lang") == "en"


def _paths(page: Page, exchanges: Exchanges) -> list[str]:
    page.goto(f"{exchanges.cloud.url}/")
    links = page.locator("[data-live] tbody a")
    return ["/", "/exchanges", *(str(links.nth(each).get_attribute("href")) for each in range(2))]


_CONTRASTS = """() => {
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d", {willReadFrequently: true});
  const rgb = (colour) => {
    pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
    return pen.getImageData(0, 0, 1, 1).data;
  };
  const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
    const v = c[i] / 255;
    return sum + weight * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  }, 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return rgb("white");
  };
  const found = [];
  for (const e of document.body.querySelectorAll("*")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !e.checkVisibility() || e.closest(".visually-hidden")) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), `${e.tagName}.${e.className}: ${e.textContent.trim().slice(0, 40)}`]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_light_and_dark(browser: Browser, exchanges: Exchanges, scheme: Scheme) -> None:
    """WCAG 2.2 AA, 1.4.3: every text that is seen has a contrast of 4.5 or more; and the two schemes differ."""
    with open_window(browser, scheme=scheme) as window:
        for path in _paths(window.page, exchanges):
            window.page.goto(f"{exchanges.cloud.url}{path}")
            window.page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
            contrasts = window.page.evaluate(_CONTRASTS)
            assert len(contrasts) > 20
            assert [each for each in contrasts if each[0] < 4.5] == []
        ground = window.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) < 384) == (scheme == "dark")


def test_reduced_motion_is_respected(browser: Browser, exchanges: Exchanges) -> None:
    """The only animation is behind prefers-reduced-motion."""
    with open_window(browser) as window:
        window.page.emulate_media(reduced_motion="reduce")
        window.page.goto(f"{exchanges.cloud.url}/")
        exchanges.grant()
        expect(window.page.locator("[data-live] tr.new")).to_have_count(1)
        assert window.page.evaluate("document.getAnimations().length") == 0


@pytest.mark.parametrize("width", [360, 1200])
def test_page_fits_its_window(browser: Browser, exchanges: Exchanges, width: int) -> None:
    """Nothing scrolls sideways but a command in its frame, on a phone either."""
    framed = "Array.from(document.querySelectorAll('.scroll'), each => each.scrollWidth - each.clientWidth)"
    with open_window(browser) as window:
        for path in _paths(window.page, exchanges):
            window.page.set_viewport_size({"width": width, "height": 800})
            window.page.goto(f"{exchanges.cloud.url}{path}")
            assert window.page.evaluate("document.documentElement.scrollWidth") <= width
            assert max(window.page.evaluate(framed), default=0) <= 0


def test_copy_button_hides_nothing_on_a_phone(browser: Browser, exchanges: Exchanges) -> None:
    """It stands below the command, not on its end."""
    with open_window(browser) as window:
        page = window.page
        page.set_viewport_size({"width": 360, "height": 800})
        page.goto(f"{exchanges.cloud.url}{_paths(page, exchanges)[2]}")
        command, button = page.locator("[data-copy]").first, page.get_by_role("button", name="Copy").first
        shown, beside = command.bounding_box(), button.bounding_box()
        assert shown is not None
        assert beside is not None
        assert beside["y"] >= shown["y"] + shown["height"]


def test_command_is_copied_exactly(browser: Browser, exchanges: Exchanges) -> None:
    """Exactly what is shown is on the clipboard."""
    with open_window(browser) as window:
        page = window.page
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.goto(f"{exchanges.cloud.url}{_paths(page, exchanges)[2]}")
        page.get_by_role("button", name="Copy").first.click()
        expect(page.get_by_role("status")).to_have_text("Copied")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == page.locator("[data-copy]").first.text_content()
        assert copied.splitlines()[0].endswith("\\")


def test_markup_from_clients_never_runs(browser: Browser, exchanges: Exchanges) -> None:
    """An assertion full of markup is shown as text in a browser that would run it."""
    hostile = "<img src=x onerror=alert(1)><script>alert(1)</script>"
    exchanges.refuse(hostile)
    with open_window(browser) as window:
        window.page.on("dialog", lambda dialog: window.problems.append(dialog.message))
        for path in _paths(window.page, exchanges):
            window.page.goto(f"{exchanges.cloud.url}{path}")
        window.page.goto(f"{exchanges.cloud.url}/")
        exchanges.refuse(hostile)
        expect(window.page.locator("[data-live] tbody tr")).to_have_count(4)
        expect(window.page.locator("[data-live] tbody tr").first).to_contain_text("onerror=alert(1)")
        assert window.problems == []
