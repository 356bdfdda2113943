"""A headless Chromium that opens a page and tells everything that the page did: console, requests, exceptions."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.tools import require_tools

_TIMEOUT_S = 60.0


@dataclass
class Page:
    """One page. `console` has messages and exceptions, `requests` every URL asked for, the page's own first."""

    process: subprocess.Popen[bytes]
    to_browser: int
    from_browser: int
    session: str = ""
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    _last: int = 0
    _events: set[str] = field(default_factory=set)
    _rest: bytes = b""

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command of the DevTools protocol -> its result. AssertionError if the browser refuses."""
        self._last += 1
        message: dict[str, object] = {"id": self._last, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def wait_for(self, event: str) -> None:
        """Returns after an event that has not been waited for yet."""
        while event not in self._events:
            self._receive()
        self._events.discard(event)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def show(self, *, width: int, height: int, dark: bool = False) -> None:
        """The size of the window, and whether the user prefers dark pages."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG file."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            received = os.read(self.from_browser, 1 << 16)
            assert received, "chromium has ended"
            self._rest += received
        raw, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        method, parameters = message.get("method", ""), message.get("params", {})
        self._events.add(method)
        match method:
            case "Runtime.consoleAPICalled":
                self.console.append(" ".join(str(each.get("value", each)) for each in parameters["args"]))
            case "Runtime.exceptionThrown":
                self.console.append(str(parameters["exceptionDetails"]))
            case "Log.entryAdded":
                self.console.append(parameters["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
        return message


@contextmanager
def opened(path: Path) -> Iterator[Page]:
    """The page at `path`, loaded. Without chromium it skips the test by name, or fails it where tools are required."""
    require_tools("chromium")
    read_by_browser, to_browser = os.pipe()
    from_browser, written_by_browser = os.pipe()
    with tempfile.TemporaryDirectory() as profile:
        # The protocol runs over file descriptors 3 and 4 of the browser.
        command = (
            f"exec 3<&{read_by_browser} 4>&{written_by_browser}; exec chromium --headless=new --no-sandbox "
            "--disable-gpu --disable-dev-shm-usage --no-first-run --disable-background-networking "
            f"--disable-component-update --user-data-dir={profile} --remote-debugging-pipe about:blank"
        )
        process = subprocess.Popen(
            ["timeout", str(int(_TIMEOUT_S)), "bash", "-c", command],
            pass_fds=(read_by_browser, written_by_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_by_browser)
        os.close(written_by_browser)
        page = Page(process, to_browser, from_browser)
        try:
            targets = page.call("Target.getTargets")["targetInfos"]
            target = next(each["targetId"] for each in targets if each["type"] == "page")
            page.session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                page.call(f"{domain}.enable")
            page.call("Page.navigate", url=path.resolve().as_uri())
            page.wait_for("Page.loadEventFired")
            yield page
        finally:
            page.session = ""
            try:
                page.call("Browser.close")
            finally:
                process.wait(timeout=_TIMEOUT_S)
                os.close(to_browser)
                os.close(from_browser)
