"""Reports in a real browser, without a driver: a copy of the page gets a script that works it and leaves JSON in an
attribute, which `chromium --dump-dom` prints."""

import html
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
LEAST_WIDTH = 500  # of a headless window; narrower pages stand in a frame
FRAME = """<!doctype html><body style="margin:0">
<iframe src="{address}" style="border:0;width:{width}px;height:{height}px"></iframe>
<script>onmessage = (event) => {{ document.documentElement.dataset.found = event.data; }}</script>"""


def find() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Chromium:
    def __init__(self, program: str, folder: Path):
        self.program = program
        self.folder = folder

    def visit(self, page: Path, steps: str = "", *, width=1440, height=1000, address="", before="", unfinished=False):
        """Opens a page, runs the steps in it, and returns what they return.

        Fails where the page is not drawn, loads something, writes out a missing figure, or says something on the
        console: errors that nobody catches, broken drawings and what the content policy refuses all stand there.

        steps: the body of an async function of `report`, which is window.kvreplayReport; worker.js has what it calls
        address: "?theme=dark", "#loss=..."
        before: a script that runs before all others
        unfinished: the page is expected to give up
        """
        audits = "".join((FOLDER / name).read_text() for name in ("audits.js", "contrast.js"))
        worker = (FOLDER / "worker.js").read_text().replace("// AUDITS", audits).replace("// STEPS", steps)
        worker = worker.replace("WAITS", json.dumps(not unfinished))
        text = page.read_text(encoding="utf-8")
        text = text.replace("<head>", f"<head><script>{before}</script>", 1)
        head, closing, tail = text.rpartition("</body>")
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            copy = Path(folder) / "visited.html"
            copy.write_text(f"{head}<script>{worker}</script>{closing}{tail}", encoding="utf-8")
            url = f"{copy.as_uri()}{address}"
            if width < LEAST_WIDTH:
                frame = Path(folder) / "frame.html"
                frame.write_text(FRAME.format(address=html.escape(url), width=width, height=height))
                url = frame.as_uri()
            done = self._run(url, "--dump-dom", f"--window-size={max(width, LEAST_WIDTH)},{height}")
        said = [line.split("]", 1)[1].strip() for line in done.stderr.splitlines() if ":CONSOLE" in line]
        found = re.search(r'<html[^>]* data-found="([^"]*)"', done.stdout)
        assert found, f"the page was never drawn: {said}"
        result = json.loads(html.unescape(found[1]))
        assert result["error"] is None, result["error"]
        if not unfinished:
            assert not said, f"on the console: {said}"
            assert not result["loaded"], f"loaded: {result['loaded']}"
            assert not result["nonsense"], f"written out: {result['nonsense']}"
        return result["found"]

    def print(self, page: Path, address: str = "") -> bytes:
        """The page as PDF, with an outline of its headings."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            pdf = Path(folder) / "printed.pdf"
            self._run(f"{page.as_uri()}{address}", f"--print-to-pdf={pdf}", "--generate-pdf-document-outline")
            return pdf.read_bytes()

    def _run(self, url: str, *options: str) -> subprocess.CompletedProcess:
        # A user who is root has no sandbox to offer; the pages are our own.
        quiet = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--enable-logging=stderr"]
        # Of the page's own clock, which leaps to the next timer when the page is idle: long enough for all of them.
        clock = "--virtual-time-budget=60000"
        with tempfile.TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as profile:
            return subprocess.run(
                [self.program, *quiet, clock, f"--user-data-dir={profile}", *options, url],
                capture_output=True,
                text=True,
                timeout=120,
                check=True,
            )
