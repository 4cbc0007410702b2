"""The page in a real browser, over TLS, of a cloud that made real exchanges."""

import itertools
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.unit.wisp_local.cloud.page.browser import Scene, Scheme, chromium, scene, sight
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
def told(tmp_path: Path) -> Generator[Scene]:
    """Give a cloud that granted an exchange and refused one."""
    with running(tmp_path / "cloud.db") as cloud:
        made = scene(cloud)
        made.grant()
        assert made.refuse() == 700213
        yield made


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_the_whole_page_with_and_without_scripts(browser: Browser, told: Scene, *, scripts: bool) -> None:
    """List, refusal with its difference and remedy, decoded token, the token on demand: all without a script, too."""
    with sight(browser, scripts=scripts) as seen:
        page = seen.page
        page.goto(f"{told.cloud.url}/")
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
        assert seen.problems == []
        assert {url.split("/")[2] for url in seen.asked} == {told.cloud.url.split("/")[2]}


def test_a_new_exchange_appears_by_itself(browser: Browser, told: Scene) -> None:
    """Without a reload, said politely to a screen reader, and the focus stays where it was."""
    with sight(browser) as seen:
        page = seen.page
        page.goto(f"{told.cloud.url}/")
        page.evaluate("document.body.dataset.same = 'yes'")
        rows = page.locator("[data-live] tbody tr")
        expect(rows).to_have_count(2)
        rows.nth(0).get_by_role("link").focus()
        assert told.refuse(slash=False) == 700211
        expect(rows).to_have_count(3)
        expect(rows.nth(0)).to_contain_text("Issuer lacks the trailing slash")
        expect(page.get_by_role("status")).to_have_text(re.compile("Refused: issuer lacks the trailing slash"))
        assert page.get_by_role("status").get_attribute("aria-live") == "polite"
        assert page.evaluate("document.activeElement.closest('tr') === document.querySelectorAll('[data-live] tr')[2]")
        assert page.evaluate("document.body.dataset.same") == "yes"
        assert seen.problems == []


def test_the_list_stands_still_while_it_is_paused(browser: Browser, told: Scene) -> None:
    """WCAG 2.2 AA, 2.2.2: nothing is even asked for, until it goes on; the browser's clock is ours."""
    with sight(browser) as seen:
        page = seen.page
        page.clock.install()
        page.goto(f"{told.cloud.url}/")
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("button", name="Pause")).to_have_attribute("aria-pressed", "true")
        expect(page.locator("[data-state]")).to_have_text("Paused")
        seen.asked.clear()  # a slow browser has asked for news before it was told to pause
        told.grant()
        page.clock.run_for(10_000)
        assert not [each for each in seen.asked if "news" in each]
        page.get_by_role("button", name="Pause").click()
        page.clock.run_for(2_000)
        expect(page.locator("[data-live] tbody tr")).to_have_count(3)


def test_a_first_exchange_replaces_the_words_that_there_is_none(browser: Browser, tmp_path: Path) -> None:
    """An empty list explains itself, then fills."""
    with running(tmp_path / "cloud.db") as cloud, sight(browser) as seen:
        seen.page.goto(f"{cloud.url}/")
        expect(seen.page.get_by_text("No token has been requested yet")).to_be_visible()
        scene(cloud).grant()
        expect(seen.page.locator("[data-live] tbody tr")).to_have_count(1)
        expect(seen.page.get_by_text("No token has been requested yet")).to_have_count(0)


def test_a_server_that_was_restarted_makes_the_list_anew(browser: Browser, told: Scene) -> None:
    """The page notices that its list is another server's, and says so while there is none."""
    with sight(browser) as seen:
        page = seen.page
        page.goto(f"{told.cloud.url}/")
        expect(page.locator("[data-live] tbody tr")).to_have_count(2)
        assert told.cloud.end() == 0
        expect(page.locator("[data-state]")).to_have_text("The server does not answer")
        port = int(told.cloud.url.rpartition(":")[2])
        with running(told.cloud.state, port=port):
            expect(page.get_by_text("No token has been requested yet")).to_be_visible()


def test_everything_can_be_reached_by_keyboard(browser: Browser, told: Scene) -> None:
    """Tab goes first to the skip link, then through the page in its order; what has focus is seen to have it."""
    with sight(browser) as seen:
        page = seen.page
        page.goto(f"{told.cloud.url}/")
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


def test_the_accessibility_tree_has_names_landmarks_and_headings(browser: Browser, told: Scene) -> None:
    """What a screen reader is told: one main, one first heading, none skipped, every control and table named."""
    with sight(browser) as seen:
        for path in _paths(seen.page, told):
            seen.page.goto(f"{told.cloud.url}{path}")
            roles = _roles(seen.page)
            names = [role for role, _ in roles]
            assert [names.count(each) for each in ("main", "banner", "contentinfo")] == [1, 1, 1]
            for role, name in roles:
                assert name.strip() or role not in ("link", "button", "table", "region", "navigation", "heading"), role
            levels = [
                next(int(p["value"]["value"]) for p in each["properties"] if p["name"] == "level")
                for each in _nodes(seen.page)
                if each["role"]["value"] == "heading"
            ]
            assert levels.count(1) == 1
            assert levels[0] == 1
            assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
            assert "columnheader" in names
            assert "rowheader" in names
            assert seen.page.evaluate("document.documentElement.lang") == "en"


def _paths(page: Page, told: Scene) -> list[str]:
    page.goto(f"{told.cloud.url}/")
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
def test_all_text_can_be_read_in_light_and_dark(browser: Browser, told: Scene, scheme: Scheme) -> None:
    """WCAG 2.2 AA, 1.4.3: every text that is seen has a contrast of 4.5 or more; and the two schemes differ."""
    with sight(browser, scheme=scheme) as seen:
        for path in _paths(seen.page, told):
            seen.page.goto(f"{told.cloud.url}{path}")
            seen.page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
            contrasts = seen.page.evaluate(_CONTRASTS)
            assert len(contrasts) > 20
            assert [each for each in contrasts if each[0] < 4.5] == []
        ground = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) < 384) == (scheme == "dark")


def test_nothing_moves_for_those_who_do_not_want_it(browser: Browser, told: Scene) -> None:
    """The only animation is behind prefers-reduced-motion."""
    with sight(browser) as seen:
        seen.page.emulate_media(reduced_motion="reduce")
        seen.page.goto(f"{told.cloud.url}/")
        told.grant()
        expect(seen.page.locator("[data-live] tr.new")).to_have_count(1)
        assert seen.page.evaluate("document.getAnimations().length") == 0


@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_fits_its_window(browser: Browser, told: Scene, width: int) -> None:
    """Nothing scrolls sideways but a command in its frame, on a telephone neither: what was wrong is in sight."""
    framed = "Array.from(document.querySelectorAll('.scroll'), each => each.scrollWidth - each.clientWidth)"
    with sight(browser) as seen:
        for path in _paths(seen.page, told):
            seen.page.set_viewport_size({"width": width, "height": 800})
            seen.page.goto(f"{told.cloud.url}{path}")
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
            assert max(seen.page.evaluate(framed), default=0) <= 0


def test_the_copy_button_hides_nothing_on_a_telephone(browser: Browser, told: Scene) -> None:
    """It stands below the command, not on its end."""
    with sight(browser) as seen:
        page = seen.page
        page.set_viewport_size({"width": 360, "height": 800})
        page.goto(f"{told.cloud.url}{_paths(page, told)[2]}")
        command, button = page.locator("[data-copy]").first, page.get_by_role("button", name="Copy").first
        shown, beside = command.bounding_box(), button.bounding_box()
        assert shown is not None
        assert beside is not None
        assert beside["y"] >= shown["y"] + shown["height"]


def test_the_command_can_be_copied(browser: Browser, told: Scene) -> None:
    """Exactly what is shown is on the clipboard."""
    with sight(browser) as seen:
        page = seen.page
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.goto(f"{told.cloud.url}{_paths(page, told)[2]}")
        page.get_by_role("button", name="Copy").first.click()
        expect(page.get_by_role("status")).to_have_text("Copied")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == page.locator("[data-copy]").first.text_content()
        assert copied.splitlines()[0].endswith("\\")


def test_what_clients_send_never_runs(browser: Browser, told: Scene) -> None:
    """An assertion full of markup is shown as text in a browser that would run it."""
    hostile = "<img src=x onerror=alert(1)><script>alert(1)</script>"
    told.refuse(hostile)
    with sight(browser) as seen:
        seen.page.on("dialog", lambda dialog: seen.problems.append(dialog.message))
        for path in _paths(seen.page, told):
            seen.page.goto(f"{told.cloud.url}{path}")
        seen.page.goto(f"{told.cloud.url}/")
        told.refuse(hostile)
        expect(seen.page.locator("[data-live] tbody tr")).to_have_count(4)
        expect(seen.page.locator("[data-live] tbody tr").first).to_contain_text("onerror=alert(1)")
        assert seen.problems == []
