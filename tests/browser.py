"""Headless Chromium for tests: its DevTools protocol through a pipe, so that no package is needed."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
_PATIENCE = 120                                    # seconds
# The browser reads from file 3 and writes to file 4; whatever numbers the pipes have here.
_LAUNCH = """
import fcntl, os, sys
given = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3]]
for file, place in zip(given, (3, 4)):
    os.dup2(file, place)
os.execv(sys.argv[3], sys.argv[3:])
"""
_OPTIONS = (
    "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--hide-scrollbars",
    "--no-sandbox",                                # root has none
    "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
    "about:blank",
)  # fmt: skip


class Browser:
    """One tab. ``errors`` holds what the console says of errors, ``asked`` the address of every request."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing, self._rest, self._number = reading, writing, b"", 0
        self.errors: list[str] = []
        self.asked: list[str] = []
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def run(self, script: str) -> Any:
        """The value of an expression in the page, waited for where it is a promise."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in done, (script, done["exceptionDetails"])
        return done["result"].get("value")

    def until(self, script: str) -> Any:
        """The value of an expression once it is true."""
        end = time.monotonic() + _PATIENCE
        while not (value := self.run(script)):
            assert time.monotonic() < end, (script, self.errors, self.run("document.body.innerText"))
            time.sleep(0.05)
        return value

    def open(self, address: str) -> None:
        """Go to an address and wait for its scripts."""
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def look(self, width: int, height: int = 900, *, dark: bool = False, motion: bool = True) -> None:
        """The size of the window in pixels, and what the reader prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=width < 600)
        features = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "no-preference" if motion else "reduce",
        }
        named = [{"name": name, "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=named)

    def choose(self, selector: str, files: list[Path]) -> None:
        """Set the files of an input, as a person does in its dialogue."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(each) for each in files])

    def press(self, key: str) -> None:
        """A key of the keyboard: Tab, Enter, ArrowRight, …"""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        codes = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowRight": 39}
        more = {"key": key, "code": key if key != " " else "Space", "windowsVirtualKeyCode": codes[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **more)
        self.call("Input.dispatchKeyEvent", type="keyUp", **more)

    def image(self, file: Path) -> None:
        """A PNG of the whole page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._reading], [], [], _PATIENCE)
            assert ready, "the browser says nothing any more"
            read = os.read(self._reading, 2**16)
            assert read, "the browser has ended"
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, what: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.errors.append(str(what["exceptionDetails"]))
        if event == "Log.entryAdded" and what["entry"]["level"] == "error":
            self.errors.append(f"{what['entry']['text']} {what['entry'].get('url', '')}")
        if event == "Network.requestWillBeSent":
            self.asked.append(what["request"]["url"])


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """A browser that keeps its profile in ``folder``."""
    theirs, writing = os.pipe()
    reading, answers = os.pipe()
    command = [sys.executable, "-c", _LAUNCH, str(theirs), str(answers), CHROMIUM, *_OPTIONS]
    command.append(f"--user-data-dir={folder}")
    environment = {**os.environ, "HOME": str(folder)}
    with (folder / "browser.txt").open("wb") as log:
        process = subprocess.Popen(
            command, pass_fds=(theirs, answers), stdout=log, stderr=log, env=environment, start_new_session=True
        )
    os.close(theirs)
    os.close(answers)
    try:
        yield Browser(reading, writing)
    finally:
        os.close(writing)                          # which ends the browser
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
        os.close(reading)
