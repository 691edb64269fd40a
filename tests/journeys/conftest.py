"""OHIF as a hospital would put it up: its build, our configuration and the archive behind one
origin.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import pytest

OHIF_VERSION = "3.13.2"
AXE_VERSION = "4.14.1"

_SOURCE = {
    "friendlyName": "Archive",
    "name": "archive",
    **dict.fromkeys(("wadoUriRoot", "qidoRoot", "wadoRoot"), "/dicom-web"),
    **dict.fromkeys(("imageRendering", "thumbnailRendering"), "wadors"),
    "qidoSupportsIncludeField": False,
    "supportsReject": False,
    "supportsFuzzyMatching": False,
    "dicomUploadEnabled": False,
    "enableStudyLazyLoad": True,
    "supportsWildcard": True,
    "omitQuotationForMultipartRequest": True,
    "bulkDataURI": {"enabled": False},
}
_CONFIGURATION = {
    "routerBasename": None,
    "extensions": [],
    "modes": [],
    "customizationService": {},
    "showStudyList": True,
    "maxNumberOfWebWorkers": 2,
    "showWarningMessageForCrossOrigin": False,
    "showCPUFallbackMessage": False,
    "showLoadingIndicator": True,
    "strictZSpacingForVolumeViewport": True,
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "dicomweb",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "dicomweb",
            "configuration": _SOURCE,
        }
    ],
}


class _ViewerPages(SimpleHTTPRequestHandler):
    """The viewer's files at the root, DICOMweb handed on to the archive: the browser sees one
    origin.
    """

    protocol_version = "HTTP/1.1"  # the viewer asks for hundreds of files
    archive_port = 0

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/dicom-web/"):
            self._hand_on(b"")
        elif path == "/app-config.js":
            self._answer(
                200, "text/javascript", f"window.config = {json.dumps(_CONFIGURATION)};".encode()
            )
        else:
            if not Path(self.translate_path(path)).is_file():
                self.path = "/index.html"  # its routes exist in the browser alone
            super().do_GET()

    def do_POST(self) -> None:
        self._hand_on(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _hand_on(self, body: bytes) -> None:
        archive = http.client.HTTPConnection("127.0.0.1", self.archive_port, timeout=120)
        passed = {n: v for n, v in self.headers.items() if n.lower() in ("accept", "content-type")}
        archive.request(self.command, self.path, body, passed)
        with archive.getresponse() as answer:
            content_type = answer.getheader("Content-Type", "application/octet-stream")
            self._answer(answer.status, content_type, answer.read())
        archive.close()

    def _answer(self, status: int, content_type: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def end_headers(self) -> None:
        # the viewer's workers share memory, which a browser allows to isolated pages alone
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *args: Any) -> None:
        """Say nothing: pytest shows what the page itself complains of."""


class _Site(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser drops requests when it leaves a page: nothing to report."""


@pytest.fixture(scope="session")
def ohif_build() -> Path:
    """The folder with the viewer's index.html, as deploy/install-peers.sh leaves it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    build = cache / "segnode" / f"ohif-{OHIF_VERSION}" / "dist"
    if not (build / "index.html").is_file():
        _missing(f"OHIF {OHIF_VERSION}")
    return build


@pytest.fixture(scope="session")
def axe_source() -> str:
    """The script of axe-core, which finds what people with a disability cannot use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    script = cache / "segnode" / f"axe-core-{AXE_VERSION}" / "axe.min.js"
    if not script.is_file():
        _missing(f"axe-core {AXE_VERSION}")
    return script.read_text("utf-8")


# the software renderer: there is no graphics card in a test machine, and the viewer draws with
# WebGL alone
_FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)


@contextmanager
def _browser(chromium: str) -> Iterator[Any]:
    """Debian's Chromium without a window, driven by Playwright."""
    if importlib.util.find_spec("playwright") is None:
        _missing("Playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=list(_FLAGS), timeout=240_000
        )
        yield browser
        browser.close()


@pytest.fixture
def browser_page(peer: Callable[[str], str]) -> Iterator[Any]:
    """An empty page of Chromium, 1400 x 900."""
    with _browser(peer("chromium")) as browser:
        yield browser.new_page(viewport={"width": 1400, "height": 900})


@pytest.fixture(scope="module")
def browser_context(peer: Callable[[str], str]) -> Iterator[Any]:
    """One Chromium for all tests of a file, whose pages (1000 x 640) share what was loaded.

    Not for longer: Playwright's event loop runs in this thread, and others would not start.
    """
    with _browser(peer("chromium")) as browser:
        yield browser.new_context(viewport={"width": 1000, "height": 640})


def _missing(what: str) -> NoReturn:
    if os.environ.get("SEGNODE_REQUIRE_PEERS") == "1":
        pytest.fail(f"{what} is missing: run make peers")
    pytest.skip(f"{what} is missing: run make peers")


@pytest.fixture(scope="module")
def viewer_of(ohif_build: Path) -> Iterator[Callable[[int], str]]:
    """Puts the viewer up in front of the archive at an HTTP port; gives the viewer's address."""
    sites: list[_Site] = []

    def serve(archive_port: int) -> str:
        pages = type("_Pages", (_ViewerPages,), {"archive_port": archive_port})
        site = _Site(("127.0.0.1", 0), lambda *args: pages(*args, directory=str(ohif_build)))
        site.daemon_threads = True
        threading.Thread(target=site.serve_forever, daemon=True).start()
        sites.append(site)
        return f"http://127.0.0.1:{site.server_address[1]}"

    yield serve
    for site in sites:
        site.shutdown()
        site.server_close()
