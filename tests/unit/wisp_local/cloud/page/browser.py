"""A running cloud, exchanges over TLS, and Debian's Chromium to open its page with."""

import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.unit.wisp_local.cloud.process import Running, Workload, exchange, workload
from wisp_local.cloud.issuer import Projection, service_account_token
from wisp_local.cloud.state.store import Store

PATIENCE = 60_000  # milliseconds; a busy machine must not fail
Scheme = Literal["light", "dark"]
expect.set_options(timeout=PATIENCE)


@dataclass
class Exchanges:
    """A running cloud whose identity trusts kube-system's wi-demo-sa."""

    cloud: Running
    trusted: Workload

    def grant(self) -> str:
        """Make an exchange that is granted, and return the token."""
        answer = exchange(self.cloud, self.trusted)
        assert answer.status == 200
        return str(answer.json()["access_token"])

    def refuse(self, namespace: str = "default", *, slash: bool = True) -> int:
        """Make an exchange with another namespace or issuer than is trusted; return the AADSTS code."""
        with Store(self.cloud.state) as store:
            issuer = store.issuers.named("wilab")
            url = (self.cloud.url + issuer.path).rstrip("/") + "/" * slash
            assertion = service_account_token(issuer, url, Projection(namespace, "wi-demo-sa"), now=time.time())
        answer = exchange(self.cloud, replace(self.trusted, assertion=assertion.reveal()))
        assert answer.status == 401
        return int(answer.json()["error_codes"][0])


@dataclass
class BrowserWindow:
    """A page, its problems and the URLs that it requested."""

    page: Page
    problems: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)


@contextmanager
def chromium() -> Generator[Browser]:
    """Run Chromium; as root it has no sandbox, and opens only our own page."""
    with sync_playwright() as playwright:
        program = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"], timeout=PATIENCE)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_window(browser: Browser, *, scripts: bool = True, scheme: Scheme = "light") -> Generator[BrowserWindow]:
    """Open a window of its own, with or without JavaScript, in light or dark."""
    context: BrowserContext = browser.new_context(
        ignore_https_errors=True,
        java_script_enabled=scripts,
        color_scheme=scheme,
        viewport={"width": 1200, "height": 900},
    )
    try:
        context.set_default_timeout(PATIENCE)
        window = BrowserWindow(context.new_page())
        window.page.on("console", lambda message: window.problems.append(message.text))
        window.page.on("pageerror", lambda error: window.problems.append(str(error)))
        window.page.on("request", lambda request: window.requested.append(request.url))
        yield window
    finally:
        context.close()


def walkthrough_exchanges(cloud: Running) -> Exchanges:
    """Fill the running cloud with the walk-through's identity."""
    return Exchanges(cloud, workload(cloud.state, cloud.url))
