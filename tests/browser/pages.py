"""Results and the reports of them, made with the program."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Two layers, four query heads on two KV heads, 256 tokens.
SMALL = [
    *("--layers", "2", "--q-heads", "4", "--kv-heads", "2", "--head-dim", "16", "--value-dim", "16"),
    *("--prompt", "256", "--question", "32", "--decode", "16", "--needles", "1"),
]
FEW = "snapkv:window=16,h2o,streaming-llm,knorm,expected-attention,random,oracle"
BUDGETS = "0.05,0.1,0.25,0.5,0.8"


@dataclass(frozen=True)
class Report:
    results: Path
    page: Path
    retained: Path | None = None


class Workshop:
    def __init__(self, program: Path, folder: Path):
        self.program = program
        self.folder = folder

    def run(self, *words: object) -> str:
        done = subprocess.run([self.program, *map(str, words)], cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def synthetic(self, name: str, *options: str) -> Path:
        path = self.folder / f"{name}.trace.h5"
        self.run("synth", "-o", path, *SMALL, *options)
        return path

    def replay(self, name: str, trace: Path, *options: object) -> Path:
        path = self.folder / f"{name}.h5"
        self.run("replay", trace, "-o", path, "-q", *options)
        return path

    def report(self, results: Path, name: str = "", retained: Path | None = None, *options: str) -> Report:
        page = self.folder / f"{name or results.stem}.html"
        sets = [] if retained is None else ["--retained", retained]
        self.run("report", results, "-o", page, "-q", *sets, *options)
        return Report(results, page, retained)

    def compare(self, report: Report, *options: str) -> dict:
        return json.loads(self.run("compare", report.results, "--json", "-", *options))
