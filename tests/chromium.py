"""A headless Chromium that shows one page, driven through the pipe of the DevTools protocol.

Two file descriptors and JSON between NUL bytes: no port, no driver and no further package.
"""

from __future__ import annotations

import base64
import json
import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip
ANSWER_S = 60.0
"""Longest wait for an answer; the machine may be busy."""


class ChromiumMissing(Exception):
    """There is no Chromium on this machine."""


def executable() -> str:
    """Returns the path of Chromium: $CHROMIUM, or what the search path has.

    Raises:
      ChromiumMissing: there is none.
    """
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        raise ChromiumMissing("no Chromium: run `make browser`, or name one in $CHROMIUM")
    return found


class Tab:
    """One page."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._waiting = selectors.DefaultSelector()
        self._waiting.register(reading, selectors.EVENT_READ)
        self._buffer = b""
        self._sent = 0
        target = self._send("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._send("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a command to the page and returns its result."""
        return self._send(method, params, self._session)

    def open(self, path: Path, *, width: int = 1120, height: int = 900, scheme: str = "light", media: str = "") -> None:
        """Shows a file in a window of this size; `scheme` is light or dark, `media` empty for a screen or print."""
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.do("Emulation.setEmulatedMedia", media=media, features=features)
        self.events.clear()
        self.do("Page.navigate", url=path.as_uri())
        self._until("Page.loadEventFired")

    def run(self, script: str) -> Any:
        """Returns what a JavaScript function body returns, as plain JSON."""
        found = self.do("Runtime.evaluate", expression=f"(() => {{{script}}})()", returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Presses a key, such as Tab or Enter."""
        codes = {"Tab": 9, "Enter": 13}
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.do("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key], **text)

    def accessibility_tree(self) -> list[dict[str, Any]]:
        """Returns the nodes that a screen reader is told of: role, name and level."""
        nodes = self.do("Accessibility.getFullAXTree")["nodes"]
        return [
            {
                "role": node.get("role", {}).get("value", ""),
                "name": node.get("name", {}).get("value", ""),
                **{prop["name"]: prop["value"].get("value") for prop in node.get("properties", [])},
            }
            for node in nodes
            if not node.get("ignored")
        ]

    def screenshot(self, *, whole: bool = True) -> bytes:
        """Returns a PNG of the page, or of what the window shows of it."""
        found = self.do("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(found["data"])

    def pdf(self) -> bytes:
        """Returns the page as it is printed."""
        return base64.b64decode(
            self.do("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69)["data"]
        )

    def _send(self, method: str, params: dict[str, Any], session: str = "") -> dict[str, Any]:
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params, **({"sessionId": session} if session else {})}
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + ANSWER_S
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._sent:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _until(self, event: str) -> None:
        deadline = time.monotonic() + ANSWER_S
        while not any(seen["method"] == event for seen in self.events):
            self._next(deadline)

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not self._waiting.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError("Chromium does not answer")
            part = os.read(self._reading, 1 << 20)
            if not part:
                raise ConnectionError("Chromium has ended")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        parsed = json.loads(message)
        if "method" in parsed and hasattr(self, "events"):
            self.events.append(parsed)
        return parsed


@contextmanager
def tab(profile: Path) -> Iterator[Tab]:
    """Starts a Chromium with a profile of its own and ends it afterwards.

    Raises:
      ChromiumMissing: there is none.
    """
    path = executable()
    to_browser, to_us = os.pipe(), os.pipe()
    # The browser reads from descriptor 3 and writes to 4.
    command = ["bash", "-c", f'exec "$0" "$@" 3<&{to_browser[0]} 4>&{to_us[1]}', path, *FLAGS]
    process = subprocess.Popen(
        [*command, f"--user-data-dir={profile}", "about:blank"],
        pass_fds=(to_browser[0], to_us[1]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(to_browser[0])
    os.close(to_us[1])
    try:
        yield Tab(to_us[0], to_browser[1])
    finally:
        process.terminate()
        process.wait(ANSWER_S)
        os.close(to_us[0])
        os.close(to_browser[1])
