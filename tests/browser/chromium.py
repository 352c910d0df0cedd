# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, the ensemble.stacks authors
"""A headless Chromium, driven by the DevTools protocol over two pipes: no port, no package.

Protocol: https://chromedevtools.github.io/devtools-protocol/; with `--remote-debugging-pipe` messages are JSON that
ends with a zero byte, read from descriptor 3 and written to descriptor 4.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_SECONDS = 60.0
#: becomes the browser, which expects its pipes as 3 and 4
_BECOME = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def program() -> str | None:
    """Where a Chromium is, if there is one."""
    return next((found for found in map(shutil.which, PROGRAMS) if found), None)


class Browser:
    """One browser with one tab; what the page complains about is kept in `complaints`."""

    def __init__(self, process: subprocess.Popen[bytes], orders: int, answers: int) -> None:
        self._process = process
        self._orders = orders
        self._answers = answers
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        self._events: list[dict[str, t.Any]] = []
        self.complaints: list[str] = []

    def attach(self) -> None:
        """Take the tab, and listen to what goes wrong in it."""
        target = self.order("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.order("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.order(f"{domain}.enable")

    def order(self, method: str, **parameters: t.Any) -> dict[str, t.Any]:
        """Send a command and wait for its answer."""
        self._number += 1
        message: dict[str, t.Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._orders, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _SECONDS
        while True:
            found = self._next(deadline)
            if found.get("id") == self._number:
                assert "error" not in found, f"{method}: {found['error']}"
                return t.cast("dict[str, t.Any]", found["result"])

    def wait_for(self, method: str) -> None:
        """Wait for an event that was not told yet."""
        deadline = time.monotonic() + _SECONDS
        while not any(event["method"] == method for event in self._events):
            self._next(deadline)
        self._events = [event for event in self._events if event["method"] != method]

    def _next(self, deadline: float) -> dict[str, t.Any]:
        while b"\0" not in self._rest:
            ready = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))[0]
            assert ready, "Chromium gives no answer"
            more = os.read(self._answers, 1 << 20)
            assert more, f"Chromium ended with {self._process.poll()}"
            self._rest += more
        line, self._rest = self._rest.split(b"\0", 1)
        found: dict[str, t.Any] = json.loads(line)
        if "method" in found:
            self._events.append(found)
            self._note(found["method"], found["params"])
        return found

    def _note(self, method: str, told: dict[str, t.Any]) -> None:
        if method == "Log.entryAdded" and told["entry"]["level"] in ("warning", "error"):
            self.complaints.append(told["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"].get("exception", told)))
        elif method == "Page.javascriptDialogOpening":
            self.complaints.append(f"a dialog: {told['message']}")

    # -- what a test wants

    def look(self, width: int, height: int = 900, dark: bool = False, media: str = "screen") -> None:
        """The next pages are shown on such a screen."""
        phone = width < 600
        self.order("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.order("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def open(self, url: str) -> None:
        """Go there and wait until all is loaded."""
        self._events.clear()
        found = self.order("Page.navigate", url=url)
        assert "errorText" not in found, found
        self.wait_for("Page.loadEventFired")

    def ask(self, expression: str) -> t.Any:
        """What JavaScript says; a promise is waited for."""
        found = self.order("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """A key, as a keyboard sends it."""
        for kind in ("keyDown", "keyUp"):
            self.order("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def whole_picture(self, path: Path) -> bytes:
        """A screenshot of all of the page, as long as it is."""
        size = self.order("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        data = base64.b64decode(
            self.order(
                "Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip, optimizeForSpeed=True
            )["data"]
        )
        path.write_bytes(data)
        return data


@contextlib.contextmanager
def browser(folder: Path) -> t.Iterator[Browser]:
    """A browser that is gone at the end, with its profile in a folder."""
    found = program()
    assert found is not None
    ends = [*os.pipe(), *os.pipe()]
    to_read, orders, answers, to_write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    words = [sys.executable, "-c", _BECOME, str(to_read), str(to_write), found, "--headless=new", "--no-sandbox"]
    words += ["--remote-debugging-pipe", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-sync"]
    words += ["--disable-dev-shm-usage", "--disable-background-networking", f"--user-data-dir={folder}"]
    with (folder / "stderr").open("wb") as told:
        process = subprocess.Popen(words, pass_fds=(to_read, to_write), stdout=told, stderr=told)
    os.close(to_read)
    os.close(to_write)
    try:
        one = Browser(process, orders, answers)
        one.attach()
        yield one
    finally:
        os.close(orders)  # on which it ends by itself
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        if process.poll() is None:
            process.kill()
            process.wait(10)
        os.close(answers)
