"""Opens a page in a real browser, if there is one, at several widths at once."""

import html
import json
import re
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
LOOK = """
<script>
const found = {};
function look(frame) {
  const view = frame.contentWindow, page = frame.contentDocument;
  const texts = [...page.querySelectorAll("svg text")].filter(text => text.getBoundingClientRect().width > 0);
  const sizes = texts.map(text => {
    const svg = text.ownerSVGElement;
    const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    return parseFloat(view.getComputedStyle(text).fontSize) * scale;
  });
  const ids = [...page.querySelectorAll("[id]")].map(element => element.id);
  found[frame.width] = {
    width: view.innerWidth,
    scroll: page.documentElement.scrollWidth,
    resources: view.performance.getEntriesByType("resource").map(entry => entry.name),
    smallest: Math.min(...sizes),
    texts: sizes.length,
    ids: ids.length,
    distinct: new Set(ids).size,
    heading: page.querySelector("h1").textContent,
  };
  document.getElementById("found").textContent = JSON.stringify(found);
}
</script>
"""


def find_browser():
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def open_page(browser, page, folder, widths=(360, 1400)):
    """Return what was seen at each width, and what the console said."""
    frames = "".join(
        f'<iframe width="{width}" height="900" onload="look(this)" srcdoc="{html.escape(page)}"></iframe>'
        for width in widths
    )
    outer = folder / "outer.html"
    outer.write_text(f"<!DOCTYPE html><meta charset='utf-8'>{LOOK}<pre id='found'></pre>{frames}", encoding="utf-8")
    done = subprocess.run(
        [
            browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=10000",
            "--dump-dom", outer.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    (seen,) = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return {int(width): values for width, values in json.loads(html.unescape(seen)).items()}, console
