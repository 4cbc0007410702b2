"""Take the pictures of docs/reference/page.md: `make screenshots`."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, ViewportSize

from tests.unit.wisp_local.cloud.page.browser import Exchanges, Scheme, chromium, open_window, walkthrough_exchanges
from tests.unit.wisp_local.cloud.process import running

_PICTURES: tuple[tuple[str, int | None, Scheme], ...] = (
    ("page-exchanges", None, "light"),
    ("page-refused", 0, "light"),
    ("page-granted", 3, "dark"),
)

_SIZE: ViewportSize = {"width": 1080, "height": 940}


def _take(browser: Browser, exchanges: Exchanges, folder: Path) -> None:
    for name, row, scheme in _PICTURES:
        with open_window(browser, scheme=scheme) as window:
            window.page.set_viewport_size(_SIZE)
            window.page.goto(f"{exchanges.cloud.url}/")
            if row is not None:
                window.page.locator("[data-live] tbody tr").nth(row).get_by_role("link").click()
            window.page.wait_for_load_state("networkidle")
            file = folder / f"{name}.png"
            window.page.screenshot(path=file)
            sys.stdout.write(f"{file}: {file.stat().st_size // 1000} kB\n")


def main(folder: Path) -> None:
    """Make one exchange that is granted and three that are not, and look at them."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as temporary, running(Path(temporary) / "cloud.db", port=8443) as cloud:
        exchanges = walkthrough_exchanges(cloud)
        exchanges.grant()
        exchanges.refuse("kube-system", slash=False)
        exchanges.refuse("Kube-System")
        exchanges.refuse("default")
        with chromium() as browser:
            _take(browser, exchanges, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
