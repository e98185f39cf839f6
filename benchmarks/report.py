"""Whether a batch's `report.html` works in a browser: `python benchmarks/report.py [report.html] [--axe axe.min.js]`.

Opens the page from disk in headless Chromium without a network, sorts and filters it with real clicks and keys, plays a
turntable under the mouse, walks through it with the tab key, and fails on errors in the console and on requests.
Without a page it makes one of `--jobs` jobs, with one real turntable, and says how long that takes to open. `--axe`
adds what axe-core finds of accessibility (`npm install axe-core`). Needs `chromium` or CHROMIUM, as `viewer.py` does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from viewer import Browser, Findings, barriers

from gen3d.assets.images import write_png, write_video
from gen3d.batch.manifest import Manifest, Spec
from gen3d.batch.report import write_report

OPENING = 2.0  # seconds in which a page of a thousand jobs is to be open


def make_page(folder: Path, jobs: int) -> Path:
    """A report of made-up jobs of every state, whose pictures are those of one run."""
    run = folder / "mini" / "a ball & 'more'@1"
    run.mkdir(parents=True)
    shades = np.linspace(0, 255, 8).astype(np.uint8)
    write_png(run / "preview.png", np.broadcast_to(shades.repeat(16)[None, :, None], (64, 128, 3)).copy())
    frames = np.broadcast_to(shades[:, None, None, None], (8, 96, 96, 3)).copy()
    write_video(run / "turntable.mp4", frames, 8)
    with Manifest(folder / "made-up.batch.sqlite") as manifest:
        specs = (Spec(f"steps: {n % 3}\n", f"a chair with {n} legs", n % 12, f"kind {n % 3}") for n in range(jobs))
        plan = manifest.plan([*specs, Spec("steps: 1\n", "</script><img src=x onerror=alert(1)>", 1, "<b>odd</b>")], 1)
        for number in range(jobs * 9 // 10):
            job = manifest.claim(plan)
            assert job is not None
            manifest.set_folder(job, run.relative_to(folder))
            figures = {
                "clip_score": (number * 37 % jobs) / jobs,
                "rank": number % 5 + 1,
                "of": 559,
                "top1": number % 5 == 0,
            }
            if number % 10 == 9:
                manifest.fail(job, 1.0, 1e9, f"The weights of part {number} are not a number: train them again.")
            else:
                manifest.finish(job, 20.0 + number % 30, 1e9, "The best match.", json.dumps(figures | {"disk": 1.5e6}))
        return write_report(manifest, plan)


def check(browser: Browser, page: Path, axe: str = "") -> tuple[list[str], float]:
    """What is wrong with a page of which a finished run has a turntable, and the seconds it took to open."""
    wrong = Findings()
    begin = time.perf_counter()
    browser.open(page)
    seconds = time.perf_counter() - begin
    jobs = int(browser.value("data.jobs.length"))
    rows = "document.querySelectorAll('#jobs tbody tr')"
    wrong.expect(browser.value(f"{rows}.length") == min(jobs, 200), "not all rows of the first page are there")
    check_order(browser, wrong)
    check_filters(browser, wrong, jobs, rows)
    check_picture(browser, wrong)
    check_keys(browser, wrong)
    if axe:
        wrong += barriers(browser, axe)
    return wrong + browser.complaints(), seconds


def check_order(browser: Browser, wrong: Findings) -> None:
    shown = (
        "[...document.querySelectorAll('#jobs tbody tr')].map(r => r.cells[7].textContent).filter(Boolean).map(Number)"
    )
    browser.click("by-clip")
    rising = browser.value(shown)
    wrong.expect(len(rising) > 0 and rising == sorted(rising), "a click on a heading does not sort")
    browser.value("document.getElementById('by-clip').focus()")
    press(browser, "Enter")
    falling = browser.value(shown)
    wrong.expect(len(falling) > 0 and falling == sorted(falling, reverse=True), "Enter on a heading does not turn it")
    where = browser.value("document.querySelector('[aria-sort]').innerText.trim()")
    wrong.expect(str(where).startswith("CLIP score"), f"'{where}' is said to be sorted by")
    browser.click("by-seed")
    seeds = browser.value("[...document.querySelectorAll('#jobs tbody tr')].map(r => Number(r.cells[4].textContent))")
    wrong.expect(len(set(seeds)) > 2 and seeds == sorted(seeds), "seeds are not sorted as numbers")
    browser.click("by-number")


def check_filters(browser: Browser, wrong: Findings, jobs: int, rows: str) -> None:
    word = str(browser.value("data.jobs[0][1]"))
    browser.click("words")
    browser.call("Input.insertText", text=word)
    browser.settle()
    found = browser.value(f"[...{rows}].every(r => r.innerText.includes({json.dumps(word)}))")
    count = browser.value(f"{rows}.length")
    wrong.expect(bool(found) and count > 0, "typing does not filter")
    said = browser.value("document.getElementById('found').innerText")
    wrong.expect(said == f"{count} of {jobs} jobs" or count == 200, f"it says '{said}'")
    browser.value("words.value = ''; words.dispatchEvent(new Event('input'))")
    browser.value("state.value = '3'; state.dispatchEvent(new Event('change'))")
    states = set(browser.value(f"[...{rows}].map(r => r.cells[5].innerText)"))
    wrong.expect(states <= {"failed"}, f"the filter of failed jobs shows {states}")
    sentences = browser.value("[...document.querySelectorAll('#jobs .sentence.failed')].every(s => s.innerText.length)")
    wrong.expect(bool(sentences), "failures are without their sentence")
    browser.value("state.value = ''; state.dispatchEvent(new Event('change'))")


def check_picture(browser: Browser, wrong: Findings) -> None:
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "no-preference"}])
    browser.value("document.querySelector('a.picture').scrollIntoView({block: 'center'})")
    browser.settle()
    still = "document.querySelector('a.picture img')"
    waiting(browser, f"{still}.complete && {still}.naturalWidth > 0")
    wrong.expect(browser.value(f"{still}.naturalWidth") > 0, "the thumbnail is not drawn")
    browser.mouse("mouseMoved", *box(browser, "a.picture"))
    video = "document.querySelector('a.picture video')"
    wrong.expect(waiting(browser, f"{video}?.currentTime > 0.2"), "the turntable does not play under the mouse")
    browser.mouse("mouseMoved", 5, 5)
    browser.settle()
    wrong.expect(browser.value(f"{video} === null"), "the turntable goes on when the mouse has gone")


def check_keys(browser: Browser, wrong: Findings) -> None:
    start = "(h => { h.tabIndex = -1; h.focus(); })(document.querySelector('h1'))"  # from where tab goes on
    browser.value(start)
    reached = []
    for _ in range(25):
        press(browser, "Tab")
        reached.append(browser.value("(e => e.id || e.className || e.tagName)(document.activeElement)"))
    for name in ("words", "state", "configuration", "by-number", "by-clip", "picture"):
        wrong.expect(name in reached, f"the tab key does not reach '{name}'")
    wrong.expect(
        waiting(browser, "document.activeElement.querySelector?.('video')?.currentTime > 0.1"),
        "the turntable does not play where the keyboard is",
    )


def press(browser: Browser, key: str) -> None:
    code = {"Enter": 13, "Tab": 9}[key]
    more = {"text": "\r"} if key == "Enter" else {}
    browser.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **more)
    browser.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)
    browser.settle()


def box(browser: Browser, selector: str) -> list[float]:
    """The middle of an element."""
    return list(browser.value(f"(r => [r.x + r.width / 2, r.y + r.height / 2])(document.querySelector('{selector}')"
                              ".getBoundingClientRect())"))  # fmt: skip


def waiting(browser: Browser, expression: str, seconds: float = 10.0) -> bool:
    """Whether something becomes true within a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if browser.value(expression):
            return True
        time.sleep(0.05)
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("page", nargs="?", type=Path, metavar="report.html")
    parser.add_argument("--jobs", type=int, default=1000, help="jobs of the page that is made where none is named")
    parser.add_argument("--axe", type=Path, help="axe.min.js of the npm package axe-core")
    parser.add_argument("--picture", type=Path, help="a file for a picture of the page")
    options = parser.parse_args()
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        print("No Chromium: install the package chromium, or name the program in CHROMIUM.")
        return 2
    axe = options.axe.read_text("utf-8") if options.axe else ""
    with tempfile.TemporaryDirectory() as folder:
        page = options.page or make_page(Path(folder), options.jobs)
        with Browser(program) as browser:
            wrong, seconds = check(browser, page, axe)
            if options.picture:
                from PIL import Image

                Image.fromarray(browser.picture()).save(options.picture)
        size = page.stat().st_size / 1e6
    if seconds > OPENING:
        wrong.append(f"it takes {seconds:.1f} s to open")
    print(f"{'fails' if wrong else 'works'}  open in {seconds:.2f} s, {size:.2f} MB")
    for reason in wrong:
        print(f"  {reason}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
