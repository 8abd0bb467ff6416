"""What the documents say: links lead somewhere, code stands in its file, commands run and print what is shown.

KVREPLAY_PROGRAM=build/kvreplay python3 -m pytest tests/docs/documents_test.py
"""

import contextlib
import io
import json
import os
import re
import subprocess
import tempfile
import unittest
from dataclasses import dataclass
from pathlib import Path

from tests.support.python.paths import ROOT

PROGRAM = os.environ.get("KVREPLAY_PROGRAM")

FOLDERS = ("core", "traces", "policies", "analysis", "tools", "tests", "docs")
README_BYTES = 12_000
# A block of commands that the test does not run names the file that runs them, or the study that measured them.
RUN_BY, FROM = re.compile(r"<!-- (?:run by|measured in): (.*) -->"), re.compile(r"<!-- from: (\S+) -->")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```\n(<!-- [^\n]* -->)?", re.MULTILINE | re.DOTALL)
FOREIGN_OPTIONS = {"--preset", "--build", "--install", "--prefix", "--fast", "--test-dir", "--prompts"}
FOREIGN_OPTIONS |= {"--config-settings", "--no-deps", "--from-sources", "--rm"}


def documents() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True)
    if listed.returncode != 0:  # not a checkout: an archive of the tree
        return [
            path for folder in (*FOLDERS, ".") for path in (ROOT / folder).glob("**/*.md" if folder != "." else "*.md")
        ]
    return sorted({ROOT / name for name in listed.stdout.decode().split()} & set(ROOT.glob("**/*.md")))


def anchors(document: Path) -> set[str]:
    """Those of the headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


@dataclass
class Block:
    language: str
    text: str
    note: str


def blocks(document: Path) -> list[Block]:
    return [Block(*match.groups(default="")) for match in FENCE.finditer(document.read_text())]


@dataclass
class Command:
    line: str
    output: list[str]


def session(text: str) -> list[Command]:
    """Commands after `$ `, continued by a backslash, each with the lines that follow it."""
    commands: list[Command] = []
    continues = False
    for line in text.splitlines():
        if continues:
            commands[-1].line = commands[-1].line.rstrip("\\") + " " + line.strip()
        elif line.startswith("$ "):
            commands.append(Command(line[2:], []))
        else:
            commands[-1].output.append(line)
        continues = (continues or line.startswith("$ ")) and line.endswith("\\")
    return commands


def alike(shown: list[str], printed: list[str]) -> bool:
    """Words that are equal but for the last digit of numbers; `...` in what is shown stands for any words."""
    if not shown:
        return not printed
    if shown[0] == "...":
        return any(alike(shown[1:], printed[i:]) for i in range(len(printed) + 1))
    return bool(printed) and alike_word(shown[0], printed[0]) and alike(shown[1:], printed[1:])


def alike_word(shown: str, printed: str) -> bool:
    number = re.compile(r"^([*(<=≤≈]*)(-?\d+\.?\d*(?:e[-+]?\d+)?)([%,;:)]*)$")
    a, b = number.match(shown), number.match(printed)
    if not (a and b) or "." not in a[2]:
        return shown == printed
    digits = len(a[2].split("e")[0].split(".")[1])
    return a[3] == b[3] and abs(float(a[2]) - float(b[2])) <= 2 * 10.0**-digits


def missing_line(shown: list[str], printed: list[str]) -> str | None:
    """The first line that is shown and not printed where it should be; a line `...` stands for any lines."""
    at, anywhere = 0, False
    for line in shown:
        if line.strip() == "...":
            anywhere = True
            continue
        places = range(at, len(printed)) if anywhere else range(at, min(at + 1, len(printed)))
        found = next((i for i in places if alike(line.split(), printed[i].split())), None)
        if found is None:
            return line
        at, anywhere = found + 1, False
    return None if anywhere or at == len(printed) else f"(the end, not {printed[at]!r})"


@unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM does not name the program")
class Documents(unittest.TestCase):
    def test_the_readme_is_short(self):
        self.assertLess((ROOT / "README.md").stat().st_size, README_BYTES)

    def test_links_lead_somewhere(self):
        n_links, dead = 0, []
        for document in documents():
            text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
            for match in LINK.finditer(text):
                target = match[1] or match[2]
                if "://" in target:
                    continue
                n_links += 1
                path, _, anchor = target.partition("#")
                file = document if not path else (document.parent / path).resolve()
                if not file.exists() or anchor and anchor not in anchors(file):
                    dead.append(f"{document.relative_to(ROOT)}: {target}")
        self.assertEqual(dead, [])
        self.assertGreater(n_links, 60)

    def test_paths_are_those_of_the_tree(self):
        pattern = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./*-]+)`")
        n_paths, missing = 0, []
        for document in documents():
            for path in pattern.findall(document.read_text()):
                n_paths += 1
                if not any(ROOT.glob(path.rstrip("/"))) and "NAME" not in path:
                    missing.append(f"{document.relative_to(ROOT)}: {path}")
        self.assertEqual(missing, [])
        self.assertGreater(n_paths, 60)

    def test_code_stands_in_its_file(self):
        n_blocks = 0
        for document in documents():
            for block in blocks(document):
                if origin := FROM.match(block.note):
                    n_blocks += 1
                    stands = block.text.rstrip() in (ROOT / origin[1]).read_text()
                    self.assertTrue(stands, f"{document.relative_to(ROOT)}: not in {origin[1]}:\n{block.text}")
                elif block.language == "cpp":
                    self.fail(f"{document.relative_to(ROOT)}: code that no file has:\n{block.text}")
        self.assertGreater(n_blocks, 9)

    def test_commands_that_are_not_run_here_say_who_runs_them(self):
        for document in documents():
            for block in blocks(document):
                if block.language not in ("sh", "bash") and not re.search(r"^\$ ", block.text, re.MULTILINE):
                    continue
                if block.language == "console":
                    continue
                owner = RUN_BY.match(block.note)
                self.assertIsNotNone(
                    owner, f"{document}: expected ```console, or <!-- run by: FILE --> after\n{block.text}"
                )
                for file in owner[1].split(", "):
                    self.assertTrue((ROOT / file).exists(), f"{document}: {file}")

    def test_options_are_known(self):
        known = set(FOREIGN_OPTIONS)
        for command in (
            "synth",
            "inspect",
            "policies",
            "metrics",
            "replay",
            "merge",
            "compare",
            "report",
            "fit-budgets",
        ):
            known |= set(re.findall(r"--[a-z][\w-]*", run([PROGRAM, command, "--help"]).stdout))
        for program in ("record", "train", "validate", "import_trace"):
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
                __import__(f"kvreplay.commands.{program}", fromlist=["main"]).main(["--help"])
            known |= set(re.findall(r"--[a-z][\w-]*", out.getvalue()))
        for document in [ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")]:
            self.assertLessEqual(set(re.findall(r"(?<![\w-])--[a-z][\w-]*", document.read_text())), known, document)

    def test_every_policy_and_metric_is_in_the_documents(self):
        policies, metrics = (ROOT / "docs/policies.md").read_text(), (ROOT / "docs/metrics.md").read_text()
        for table in json.loads(run([PROGRAM, "policies", "--json"]).stdout).values():
            for row in table:
                self.assertIn(f"`{row['name']}`", policies)
        for metric in json.loads(run([PROGRAM, "metrics", "--json"]).stdout):
            self.assertIn(f"`{metric['name']}`", metrics)

    def test_names_in_the_readme_are_known(self):
        tables = json.loads(run([PROGRAM, "policies", "--json"]).stdout)
        known = {row["name"] for table in tables.values() for row in table}
        known |= {metric["name"] for metric in json.loads(run([PROGRAM, "metrics", "--json"]).stdout)}
        readme = (ROOT / "README.md").read_text()
        rows = re.findall(r"^\|.*\|$", readme[readme.index("## Policies") : readme.index("## Speed")], re.MULTILINE)
        names = [name for row in rows for name in re.findall(r"`([\w-]+)`", row)]
        self.assertGreater(len(names), 60)
        self.assertLessEqual(set(names), known)


@unittest.skipUnless(PROGRAM, "KVREPLAY_PROGRAM does not name the program")
class Sessions(unittest.TestCase):
    """Runs the console and Python blocks of all documents in one folder, as a reader does who tries them all."""

    def test_commands_print_what_is_shown(self):
        n_commands = 0
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "traces").symlink_to(ROOT / "traces")
            for document in documents():
                names: dict[str, object] = {}  # those of a block hold in the next one, as in a notebook
                for block in blocks(document):
                    if block.language == "python":
                        run_python(block.text, folder, names)
                    elif block.language == "console":
                        n_commands += len(session(block.text))
                        self.run_session(block.text, folder, document)
        self.assertGreater(n_commands, 20)

    def run_session(self, text: str, folder: Path, document: Path) -> None:
        for command in session(text):
            done = run(["bash", "-c", command.line], folder)
            self.assertEqual(done.returncode, 0, f"{document}: $ {command.line}\n{done.stderr}")
            missing = missing_line(command.output, done.stdout.splitlines()) if command.output else None
            self.assertIsNone(missing, f"{document}: $ {command.line}\n{done.stdout}")


def run(command: list, folder: Path = ROOT) -> subprocess.CompletedProcess:
    path = f"{Path(PROGRAM).resolve().parent}:{os.environ['PATH']}"
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path, "LC_ALL": "C.UTF-8"}, capture_output=True, text=True
    )


def run_python(text: str, folder: Path, names: dict[str, object]) -> None:
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        exec(compile(text, "a block of a document", "exec"), names)  # noqa: S102


if __name__ == "__main__":
    unittest.main()
