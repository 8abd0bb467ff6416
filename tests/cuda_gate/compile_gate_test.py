"""The compile gate on what ptxas printed (CUDA 13.0), and on a kernel that spills, where there is an nvcc.

KVREPLAY_NVCC names the compiler.
"""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from compile_gate import Row, Table, differences, parse_ptxas, read_table, write_table

FOLDER = Path(__file__).resolve().parent
NVCC = os.environ.get("KVREPLAY_NVCC", "")
LOG = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN8kvreplay4cuda43_GLOBAL__N__4650ef19_10_weights_cu_d36a269013reduce_chunksILb1EEEvPKfjmPf' for 'sm_80'
ptxas info    : Function properties for _ZN8kvreplay4cuda43_GLOBAL__N__4650ef19_10_weights_cu_d36a269013reduce_chunksILb1EEEvPKfjmPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 41 registers, used 0 barriers, 384 bytes cmem[0]
ptxas info    : Compiling entry function '_Z6logdetPf' for 'sm_80'
ptxas info    : Function properties for _Z6logdetPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 28 registers, used 1 barriers, 16896 bytes smem, 424 bytes cmem[0]
"""
A = Row("core/cuda/weights.cu", "reduce_chunks<true>", 80, 41, 0)
B = Row("core/cuda/weights.cu", "logdet", 80, 28, 16896)


class CompileGateTest(unittest.TestCase):
    def test_reads_what_ptxas_prints(self):
        self.assertEqual(parse_ptxas(LOG, "core/cuda/weights.cu", 80), [A, B])

    def test_a_tenth_more_is_no_difference(self):
        self.assertEqual(differences([A, B], [A, B]), [])
        self.assertEqual(differences([Row(*A.key, 45, 0)], [A]), [])
        self.assertEqual(differences([Row(*A.key, 20, 0)], [A]), [])

    def test_tells_of_growth_and_of_kernels_on_one_side(self):
        self.assertEqual(
            differences([Row(*A.key, 46, 0)], [A]), ["reduce_chunks<true> on sm_80 takes 46 registers, 41 in the table"]
        )
        self.assertEqual(
            differences([Row(*A.key, 41, 16)], [A]),
            ["reduce_chunks<true> on sm_80 takes 16 shared bytes, 0 in the table"],
        )
        self.assertEqual(
            differences([A], [B]),
            ["reduce_chunks<true> on sm_80 is not in the table", "logdet on sm_80 is in the table only"],
        )

    def test_a_table_is_read_as_it_was_written(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "table.tsv"
            write_table(path, Table("13.0.88", [B, A]))
            self.assertEqual(read_table(path), Table("13.0.88", [B, A]))

    @unittest.skipUnless(NVCC, "no nvcc")
    def test_a_spill_and_a_warning_fail(self):
        for source, message in (
            ("spilling_kernel.cu", "Registers are spilled"),
            ("careless_kernel.cu", "never referenced"),
        ):
            run = subprocess.run(
                [
                    sys.executable,
                    FOLDER / "compile_gate.py",
                    FOLDER / "fixtures" / source,
                    "--nvcc",
                    NVCC,
                    "--compile-only",
                    "--architectures",
                    "90",
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            self.assertEqual(run.returncode, 1, run.stdout)
            self.assertIn(message, run.stdout)

    def test_without_nvcc_it_is_skipped(self):
        run = subprocess.run(
            [sys.executable, FOLDER / "compile_gate.py", FOLDER / "fixtures/spilling_kernel.cu", "--nvcc", "/no/nvcc"],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((run.returncode, run.stdout), (77, "SKIPPED: no /no/nvcc\n"))


if __name__ == "__main__":
    unittest.main()
