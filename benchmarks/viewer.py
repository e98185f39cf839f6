"""Whether a run's `viewer.html` works in a browser: `python benchmarks/viewer.py outputs/*/*/viewer.html [--out DIR]`.

Opens each page from disk in headless Chromium without a network, and fails on errors in the console, on requests, on a
blank canvas, and where dragging, zooming, resetting or the mesh button do not change the picture as they should; where
a lost graphics context does not come back, the page does not go with the system's dark scheme, or its words and buttons
are not made for fingers on a phone. `--axe node_modules/axe-core/axe.min.js` (`npm install axe-core`) adds what that
finds of accessibility. Needs `chromium` (Debian's package will do) or CHROMIUM; speaks the DevTools protocol over a
pipe. Exit code 1 with failures, 2 without a browser. The pictures go to `--out`: `splats`, `dragged`, `mesh`, `dark`,
`phone` and `phone-dark` of each page.
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import io
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 900, 700
TIMEOUT = 120.0  # seconds, of which software rendering of 30000 splats takes one or two for a frame
PHONE_WIDTH, PHONE_HEIGHT = 390, 844
FINGER = 44  # CSS pixels that a button has to measure for one
DARK = 80  # the most, of 255, that a dark page has
MIN_COVER, MAX_COVER = 0.02, 0.7  # share of the page that an asset may take
MIN_CHANGE = 0.01  # share of the pixels that a drag has to change
MIN_AGREEMENT = 0.75  # IoU of the silhouettes of splats and mesh
MIN_SAME = 0.9  # IoU of silhouettes before a light and a dark page
NOTICEABLE = 12  # steps of 255
MARGIN = 6  # pixels at the page's border, where a canvas with the focus has a frame
FOOT = 110  # pixels at the bottom, where the legend and the buttons are

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """Chromium with a profile of its own, and one page in it."""

    def __init__(self, program: str, *more: str) -> None:
        """more: further flags, of which the last of a name counts."""
        self._profile = tempfile.TemporaryDirectory(prefix="gen3d-viewer-", ignore_cleanup_errors=True)
        reads, writes = os.pipe(), os.pipe()
        # The browser wants 3 and 4: copies with high numbers first, lest one overwrites the other.
        theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (reads[0], writes[1])]

        def connect() -> None:
            os.dup2(theirs[0], 3)
            os.dup2(theirs[1], 4)

        self._process = subprocess.Popen(
            [program, *FLAGS, *more, f"--window-size={WIDTH},{HEIGHT}", f"--user-data-dir={self._profile.name}"],
            preexec_fn=connect, pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for fd in (reads[0], writes[1], *theirs):
            os.close(fd)
        self._to, self._from = reads[1], writes[0]
        self._number, self._pending, self._session = 0, b"", ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.hold(WIDTH, HEIGHT)
        self.prefer("light")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._session = ""
            self.call("Browser.close")
            self._process.wait(10)
        except (OSError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command of the DevTools protocol; events that come in between are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + TIMEOUT
        while True:
            reply = self._receive(deadline, method)
            if reply.get("id") == self._number:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error'].get('message')}")
                result: dict[str, Any] = reply.get("result", {})
                return result
            self.events.append(reply)

    def open(self, path: Path | str) -> None:
        """Loads a page from disk, or from an address, and waits for its first frames."""
        self.events.clear()
        self.call("Page.navigate", url=path if isinstance(path, str) else path.resolve().as_uri())
        deadline = time.monotonic() + TIMEOUT
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive(deadline, str(path)))
        self.settle()

    def prefer(self, scheme: str) -> None:
        """Sets the system's scheme of colours, and that it wants no motion, so that pictures can be compared."""
        features = [
            {"name": "prefers-reduced-motion", "value": "reduce"}, {"name": "prefers-color-scheme", "value": scheme}
        ]  # fmt: skip
        self.call("Emulation.setEmulatedMedia", features=features)

    def hold(self, width: int, height: int, phone: bool = False) -> None:
        """Sets the size of the page in CSS pixels; a phone has fingers in place of a mouse."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def settle(self) -> None:
        """Waits until what was asked of the page has been drawn."""
        frames = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))"
        self.call("Runtime.evaluate", expression=frames, awaitPromise=True)

    def value(self, expression: str) -> Any:
        """A JavaScript expression's value."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, dx: float, dy: float) -> None:
        """Drags with the left button from the middle of the page."""
        x, y, steps = WIDTH / 2, HEIGHT / 2, 6
        self.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
        for step in range(1, steps + 1):
            self.mouse("mouseMoved", x + dx * step / steps, y + dy * step / steps, button="left", buttons=1)
        self.mouse("mouseReleased", x + dx, y + dy, button="left", clickCount=1)
        self.settle()

    def key(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key)
        self.settle()

    def click(self, name: str) -> None:
        """Clicks on the middle of the element with that id."""
        box = self.value(f"(r => [r.x + r.width / 2, r.y + r.height / 2])(document.getElementById('{name}')"
                         ".getBoundingClientRect())")  # fmt: skip
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, *box, button="left", clickCount=1)
        self.mouse("mouseMoved", 5, 5)
        self.settle()

    def picture(self) -> np.ndarray:
        """The page [H, W, 3] uint8."""
        content = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))

    def complaints(self) -> list[str]:
        """Errors and warnings in the console, exceptions, and requests for anything but the page itself."""
        found = []
        for event in self.events:
            method, what = event.get("method"), event.get("params", {})
            if method == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning", "assert"):
                found.append("console: " + " ".join(str(part.get("value", "")) for part in what["args"]))
            elif method == "Runtime.exceptionThrown":
                details = what["exceptionDetails"]
                found.append("exception: " + details.get("exception", {}).get("description", details["text"]))
            elif method == "Log.entryAdded" and what["entry"]["level"] == "error":
                found.append("log: " + what["entry"]["text"])
            elif method == "Network.requestWillBeSent":
                address = what["request"]["url"]
                if not address.startswith(("file:", "data:", "about:")):
                    found.append("request: " + address)
        return found

    def _receive(self, deadline: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._from], [], [], left)[0]:
                raise TimeoutError(f"The browser gave no answer to {what} within {TIMEOUT:.0f} s.")
            chunk = os.read(self._from, 1 << 20)
            if not chunk:
                raise OSError("The browser has ended.")
            self._pending += chunk
        text, _, self._pending = self._pending.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message


def silhouette(picture: np.ndarray) -> np.ndarray:
    """Where the asset is, bool, on the `inner` part of the page; its upper left corner is empty."""
    mask = np.abs(picture.astype(int) - picture[2 * MARGIN, 2 * MARGIN]).max(-1) > NOTICEABLE
    return np.asarray(inner(mask))


def changed(one: np.ndarray, other: np.ndarray) -> float:
    """The share of the pixels that differ noticeably."""
    return float(inner(np.abs(one.astype(int) - other).max(-1) > NOTICEABLE).mean())


def inner(image: np.ndarray) -> np.ndarray:
    return image[MARGIN:-FOOT, MARGIN:-MARGIN]


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


class Findings(list[str]):
    """What is wrong with a page."""

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.append(otherwise)


def check(browser: Browser, page: Path, out: Path | None, axe: str = "") -> tuple[list[str], str]:
    """What is wrong with a page, and a line of figures. axe: the source of axe-core."""
    wrong = Findings()
    start = time.perf_counter()
    browser.open(page)
    splats = browser.picture()
    seconds = time.perf_counter() - start
    message = message_of(browser)
    wrong.expect(not message, f"it says: {message}")
    cover = float(silhouette(splats).mean())
    wrong.expect(MIN_COVER < cover < MAX_COVER, f"splats cover {cover:.1%} of the page")
    touched = np.concatenate([silhouette(splats)[:, [0, -1]].ravel(), silhouette(splats)[0]])
    wrong.expect(not touched.any(), "splats reach the page's border")
    if message or not cover:
        return wrong + browser.complaints(), "nothing to see"
    browser.drag(160, 40)
    dragged = browser.picture()
    turn = changed(splats, dragged)
    wrong.expect(turn > MIN_CHANGE, f"a drag changes {turn:.1%} of the pixels")
    browser.key("r")
    wrong.expect(changed(splats, browser.picture()) < 1e-3, "R does not bring the first picture back")
    browser.mouse("mouseWheel", WIDTH / 2, HEIGHT / 2, deltaX=0, deltaY=-150)
    browser.settle()
    grown = float(silhouette(browser.picture()).mean()) / max(cover, 1e-6)
    wrong.expect(grown > 1.2, f"the wheel scales the picture's area by {grown:.2f}")
    browser.click("reset")
    wrong.expect(changed(splats, browser.picture()) < 1e-3, "the button does not bring the first picture back")
    check_loss(browser, splats, wrong)
    agreement = float("nan")
    if not browser.value("document.getElementById('toggle').hidden"):
        browser.click("toggle")
        mesh = browser.picture()
        agreement = overlap(silhouette(splats), silhouette(mesh))
        wrong.expect(agreement > MIN_AGREEMENT, f"the silhouettes of splats and mesh agree by {agreement:.2f}")
        wrong.expect(changed(splats, mesh) > 1e-3, "the mesh button changes nothing")
        browser.drag(-160, 0)
        wrong.expect(changed(mesh, browser.picture()) > MIN_CHANGE, "a drag does not turn the mesh")
        save(out, page, "mesh", mesh)
        browser.click("toggle")
        browser.click("reset")
    save(out, page, "splats", splats)
    save(out, page, "dragged", dragged)
    check_dark(browser, page, splats, out, wrong)
    check_phone(browser, page, out, wrong)
    if axe:
        wrong += barriers(browser, axe)
    wrong += browser.complaints()
    return wrong, f"{seconds:5.1f} s, {cover:5.1%} covered, {turn:5.1%} turned, splats and mesh {agreement:.2f}"


def message_of(browser: Browser) -> str:
    """What covers the picture."""
    return str(browser.value("(m => m.hidden ? '' : m.innerText)(document.getElementById('message'))"))


def check_loss(browser: Browser, splats: np.ndarray, wrong: Findings) -> None:
    """A graphics context is lost when a phone sleeps or a driver starts anew, and comes back later."""
    extension = "document.getElementById('canvas').getContext('webgl2').getExtension('WEBGL_lose_context')"
    browser.value(f"window.loss = {extension}; loss.loseContext()")
    browser.settle()
    wrong.expect(bool(message_of(browser)), "nothing is said of a lost graphics context")
    browser.value("loss.restoreContext()")
    browser.settle()
    browser.settle()
    wrong.expect(not message_of(browser), "the message stays when the graphics context comes back")
    wrong.expect(changed(splats, browser.picture()) < 1e-3, "a restored graphics context shows something else")


def check_dark(browser: Browser, page: Path, splats: np.ndarray, out: Path | None, wrong: Findings) -> None:
    browser.prefer("dark")
    browser.settle()
    dark = browser.picture()
    save(out, page, "dark", dark)
    corner = int(dark[2 * MARGIN, 2 * MARGIN].max())
    wrong.expect(corner < DARK, f"the page is no darker than {corner} of 255 in the dark scheme")
    same = overlap(silhouette(splats), silhouette(dark))
    wrong.expect(same > MIN_SAME, f"the silhouettes before a light and a dark page agree by {same:.2f}")
    browser.prefer("light")
    browser.settle()
    wrong.expect(changed(splats, browser.picture()) < 1e-3, "the light scheme does not bring the first picture back")


def check_phone(browser: Browser, page: Path, out: Path | None, wrong: Findings) -> None:
    """Fingers have no wheel and no keys, and want large buttons; nothing may lie over another or beyond the page."""
    browser.hold(PHONE_WIDTH, PHONE_HEIGHT, phone=True)
    for scheme in ("dark", "light"):
        browser.prefer(scheme)
        browser.settle()
        save(out, page, "phone" if scheme == "light" else "phone-dark", browser.picture())
    words = str(browser.value("document.getElementById('legend').innerText"))
    wrong.expect("wheel" not in words and "key" not in words and "R to" not in words, f"a phone is told: {words!r}")
    boxes = browser.value(
        "[...document.querySelectorAll('button, #legend')].filter(e => !e.hidden)"
        ".map(e => (r => [r.left, r.top, r.right, r.bottom])(e.getBoundingClientRect()))"
    )
    for number, (left, top, right, bottom) in enumerate(boxes):
        inside = left >= 0 and top >= 0 and right <= PHONE_WIDTH and bottom <= PHONE_HEIGHT
        wrong.expect(inside, "a button or the legend reaches beyond a phone's page")
        wrong.expect(min(right - left, bottom - top) >= FINGER, "a button is too small for a finger")
        for other in boxes[:number]:
            apart = left >= other[2] or right <= other[0] or top >= other[3] or bottom <= other[1]
            wrong.expect(apart, "buttons and legend lie over each other on a phone")
    browser.hold(WIDTH, HEIGHT)
    browser.settle()


def barriers(browser: Browser, axe: str) -> list[str]:
    """What axe-core finds, in either scheme of colours."""
    found = []
    for scheme in ("dark", "light"):
        browser.prefer(scheme)
        browser.settle()
        browser.value(axe + "; 0")
        report = browser.call(
            "Runtime.evaluate", expression="axe.run().then(r => r.violations.map(v => v.id + ': ' + v.help))",
            awaitPromise=True, returnByValue=True,
        )  # fmt: skip
        found += [f"axe-core, {scheme}: {reason}" for reason in report["result"]["value"]]
    return found


def save(out: Path | None, page: Path, name: str, picture: np.ndarray) -> None:
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(out / f"{page.parent.name}-{page.stem}-{name}.png")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pages", nargs="+", type=Path, metavar="viewer.html")
    parser.add_argument("--out", type=Path, help="folder for the pictures")
    parser.add_argument("--axe", type=Path, help="axe.min.js of the npm package axe-core")
    options = parser.parse_args()
    axe = options.axe.read_text("utf-8") if options.axe else ""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        print("No Chromium: install the package chromium, or name the program in CHROMIUM.")
        return 2
    failed = 0
    for page in options.pages:
        with Browser(program) as browser:
            wrong, figures = check(browser, page, options.out, axe)
        print(f"{page.parent.name:<40} {'fails' if wrong else 'works'}  {figures}", flush=True)
        for reason in wrong:
            print(f"  {reason}")
        failed += bool(wrong)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
