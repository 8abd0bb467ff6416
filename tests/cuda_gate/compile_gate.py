#!/usr/bin/env python3
"""Compiles a CUDA source for every architecture, and compares what its kernels take with a table.

    python tests/cuda_gate/compile_gate.py core/cuda/weights.cu [--update]

Any warning of nvcc, the host's compiler or ptxas is an error, and so is a register spilled to memory. Fails too when a
kernel takes over a tenth more registers or static shared memory than kernels.tsv says, or the table and the source
differ in their kernels; --update writes the source's rows anew. Registers depend on the compiler: with another nvcc than
the table's they are not compared. No GPU and no driver is needed; without nvcc the status is 77 (skipped).
"""

from __future__ import annotations

import argparse
import concurrent.futures
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).resolve().parent / "kernels.tsv"
ARCHITECTURES = [80, 86, 89, 90, 100, 120]
PTX_ARCHITECTURE = 120  # what drivers compile for GPUs to come
FLAGS = [
    "-std=c++20",
    "-O3",
    f"-I{ROOT}",
    "--Werror",
    "all-warnings",
    "-Xcompiler",
    "-Wall,-Wextra",
    "-Xptxas",
    "-v,-warn-spills,-warn-lmem-usage,-Werror",
]
GROWTH = 1.1
AT_ONCE = 2
EXIT_SKIPPED = 77


@dataclass(frozen=True, order=True)
class Row:
    """What a kernel of a source takes on an architecture."""

    source: str
    kernel: str
    architecture: int
    registers: int
    shared: int  # bytes, static

    @property
    def key(self) -> tuple[str, str, int]:
        return self.source, self.kernel, self.architecture


@dataclass
class Table:
    compiler: str  # version of nvcc
    rows: list[Row]


def read_table(path: Path) -> Table:
    compiler, rows = "", []
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.startswith("# nvcc "):
            compiler = line.removeprefix("# nvcc ")
        elif not line.startswith("#"):
            source, kernel, *numbers = line.split("\t")
            rows.append(Row(source, kernel, *map(int, numbers)))
    return Table(compiler, rows)


def write_table(path: Path, table: Table) -> None:
    lines = [
        "# What kernels take, as ptxas says. Written by compile_gate.py --update.",
        f"# nvcc {table.compiler}",
        "# source\tkernel\tarchitecture\tregisters\tstatic shared bytes",
    ]
    lines += [
        "\t".join(map(str, (row.source, row.kernel, row.architecture, row.registers, row.shared)))
        for row in sorted(table.rows)
    ]
    path.write_text("\n".join(lines) + "\n")


def kernel_names(symbols: list[str]) -> list[str]:
    """Readable names, without parameters and our own namespaces."""
    if not symbols:
        return []
    names = subprocess.run(["c++filt", "-p"], input="\n".join(symbols), capture_output=True, text=True, check=True)
    return [
        name.removeprefix("void ").replace("(anonymous namespace)::", "").removeprefix("kvreplay::cuda::")
        for name in names.stdout.splitlines()
    ]


def parse_ptxas(log: str, source: str, architecture: int) -> list[Row]:
    """The rows of one compilation. Spills are ptxas's own errors."""
    found = re.findall(r"Compiling entry function '(\S+)' for 'sm_\w+'.*?Used (\d+) registers([^\n]*)", log, re.DOTALL)
    rows = []
    for name, (_, registers, rest) in zip(kernel_names([symbol for symbol, _, _ in found]), found):
        shared = re.search(r"(\d+) bytes smem", rest)
        rows.append(Row(source, name, architecture, int(registers), int(shared.group(1)) if shared else 0))
    return rows


def differences(found: list[Row], expected: list[Row]) -> list[str]:
    """What is wrong with the kernels of one source."""
    problems = []
    known = {row.key: row for row in expected}
    for row in found:
        name = f"{row.kernel} on sm_{row.architecture}"
        before = known.pop(row.key, None)
        if before is None:
            problems.append(f"{name} is not in the table")
            continue
        for what, now, then in (
            ("registers", row.registers, before.registers),
            ("shared bytes", row.shared, before.shared),
        ):
            if now > then * GROWTH:
                problems.append(f"{name} takes {now} {what}, {then} in the table")
    problems += [f"{kernel} on sm_{architecture} is in the table only" for _, kernel, architecture in known]
    return problems


class CompileError(Exception):
    pass


def compile_source(nvcc: str, source: Path, *arguments: str) -> str:
    """What the compiler prints."""
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, *FLAGS, *arguments, "-o", f"{folder}/out", str(source)]
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if run.returncode != 0:
        readable = subprocess.run(["c++filt"], input=run.stdout, capture_output=True, text=True, check=True).stdout
        raise CompileError(" ".join(command) + "\n" + readable)
    return run.stdout


def compile_everywhere(nvcc: str, source: Path, architectures: list[int]) -> list[Row]:
    name = source.resolve().relative_to(ROOT).as_posix()

    def rows_on(architecture: int) -> list[Row]:
        log = compile_source(nvcc, source, "-cubin", f"-arch=sm_{architecture}")
        return parse_ptxas(log, name, architecture)

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        # One architecture each, as ptxas does not name the architecture on every line; host code once, with the PTX.
        host = pool.submit(
            compile_source,
            nvcc,
            source,
            "-c",
            "-gencode",
            f"arch=compute_{PTX_ARCHITECTURE},code=compute_{PTX_ARCHITECTURE}",
        )
        rows = [row for found in pool.map(rows_on, architectures) for row in found]
        host.result()
    return rows


def compiler_version(nvcc: str) -> str:
    text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"V(\d+\.\d+\.\d+)", text).group(1)


def run_gate(options: argparse.Namespace) -> int:
    found = compile_everywhere(options.nvcc, options.source, options.architectures)
    print(f"{len(found)} kernels, architectures counted one by one: no warning, no spill")
    if options.compile_only:
        return 0
    version, table = compiler_version(options.nvcc), read_table(options.table)
    name = options.source.resolve().relative_to(ROOT).as_posix()
    own = [row for row in table.rows if row.source == name]
    if options.update:
        write_table(options.table, Table(version, [row for row in table.rows if row.source != name] + found))
        return 0
    if version != table.compiler:
        print(f"nvcc {version}: not compared with the table, which nvcc {table.compiler or '(none)'} made")
        return 0
    problems = differences(found, own)
    for problem in problems:
        print(problem)
    if problems:
        print(f"If that is meant: python {Path(__file__).relative_to(ROOT)} {name} --update")
    return 1 if problems else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a .cu file of this tree")
    parser.add_argument("--nvcc", default="nvcc", help="the compiler (nvcc)")
    parser.add_argument("--table", type=Path, default=TABLE, help="(kernels.tsv beside this program)")
    parser.add_argument("--update", action="store_true", help="write the source's rows of the table anew")
    parser.add_argument("--compile-only", action="store_true", help="leave the table alone")
    parser.add_argument(
        "--architectures",
        type=lambda text: [int(part) for part in text.split(",")],
        default=ARCHITECTURES,
        help="(%(default)s)",
    )
    options = parser.parse_args()
    try:
        return run_gate(options)
    except FileNotFoundError:
        print(f"SKIPPED: no {options.nvcc}")
        return EXIT_SKIPPED
    except CompileError as error:
        print(error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
