"""kill -9 at random moments: the same command goes on, loses no finished unit, and ends with the same bytes.

KVREPLAY_PROGRAM names the program. KVREPLAY_KILLS says how often it is killed (15), KVREPLAY_SEED at which moments (1).
"""

import os
import pathlib
import random
import re
import signal
import subprocess
import tempfile
import time
import unittest

import h5py

PROGRAM = os.environ["KVREPLAY_PROGRAM"]
N_KILLS = int(os.environ.get("KVREPLAY_KILLS", "15"))
SEED = int(os.environ.get("KVREPLAY_SEED", "1"))
THREADS = 2
N_LAYERS = 12
EXISTS = 2  # exit code where the results are there already


def finished_units(folder):
    """Each finished unit with what identifies its file."""
    units = {}
    for path in folder.glob("unit-*.h5"):
        status = path.stat()
        units[path.name] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return units


def units_of_shard(path):
    with h5py.File(path) as file:
        return sorted(int(name.removeprefix("unit-")) for name in file["members"])


class KillTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.trace = self.folder / "trace.h5"
        shape = ["--layers", str(N_LAYERS), "--q-heads", "4", "--kv-heads", "2", "--head-dim", "16", "--prompt", "768"]
        subprocess.run([PROGRAM, "synth", "-o", self.trace, *shape], check=True, capture_output=True)

    def command(self, results, *more):
        policies = ["-p", "knorm,h2o,snapkv,streaming-llm", "-b", "0.1,0.3,0.6"]
        extras = ["--save-retained", f"{results}.sets", "--save-outputs", f"{results}.outputs"]
        return [PROGRAM, "replay", self.trace, *policies, "-o", results, *extras, "-j", str(THREADS), *more]

    def wait_and_kill(self, process, files, duration, rng):
        """At a random moment, or in the midst of putting the outputs in place."""
        if rng.random() < 0.7:
            time.sleep(rng.uniform(0, duration))
        else:
            first = files[rng.randrange(len(files))]
            while process.poll() is None and not first.exists():
                pass
        process.send_signal(signal.SIGKILL)

    def check_units(self, share, before, after):
        for name, identity in before.items():
            self.assertEqual(after.get(name), identity, "a finished unit is never made again")
        # Units of a case are begun in ascending order. Those below the last finished one that are not there were in
        # flight; the thread that finished that one may have begun another.
        in_flight = 0
        for case in range(2):
            units = [unit for unit in share if unit // N_LAYERS == case]
            places = [place for place, unit in enumerate(units) if f"unit-{unit:06}.h5" in after]
            in_flight += max(places) + 1 - len(places) if places else 0
        self.assertLessEqual(in_flight, THREADS - 1, sorted(after))

    def replay_until_done(self, share, files, duration, rng, *more):
        """Kills the command again and again. Returns how often."""
        journal = pathlib.Path(f"{files[-1]}.units")
        kills, finished = 0, {}
        while True:
            command = self.command(self.folder / "killed.h5", *more)
            process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            if kills < 20:
                self.wait_and_kill(process, files, duration, rng)
            message = process.communicate()[1]
            taken_up = re.search(r"taking up an interrupted replay: (\d+) of", message)
            if taken_up:
                self.assertEqual(int(taken_up[1]), len(finished), "the finished units, no more and no fewer")
            if process.returncode == 0:
                return kills
            if process.returncode == EXISTS and not (journal.exists() and list(journal.iterdir())):
                self.assertIn("exists; --force overwrites it", message)  # killed when all was done
                return kills
            self.assertEqual(process.returncode, -signal.SIGKILL, message)
            kills += 1
            units = finished_units(journal)
            if files[-1].exists():
                continue  # done but for tidying up
            self.check_units(share, finished, units)
            finished = units
            # What a kill in the midst of writing leaves, at worst: nearly all of a unit.
            if finished:
                whole = (journal / rng.choice(sorted(finished))).read_bytes()
                half = journal / f"unit-{rng.choice(share):06}.h5.tmp"
                half.write_bytes(whole[: rng.randrange(1, len(whole))])

    def check(self, share, killed, whole, *more):
        """share: the units to be replayed, ascending; a function of the undisturbed file"""
        started = time.monotonic()
        subprocess.run(self.command(self.folder / "whole.h5", *more), check=True, capture_output=True)
        duration = time.monotonic() - started
        share = share(whole[-1])
        rng = random.Random(SEED)
        kills = rounds = 0
        while kills < N_KILLS:
            kills += self.replay_until_done(share, killed, duration, rng, *more)
            rounds += 1
            for file, expected in zip(killed, whole):
                self.assertEqual(file.read_bytes(), expected.read_bytes())
                file.unlink()
        print(f"{kills} kills in {rounds} replays; undisturbed one takes {duration:.2f} s", flush=True)

    def test_a_replay_with_all_outputs(self):
        names = (".sets", ".outputs", "")  # in the order in which they appear
        killed, whole = ([self.folder / f"{name}.h5{suffix}" for suffix in names] for name in ("killed", "whole"))
        self.check(lambda _: range(2 * N_LAYERS), killed, whole)

    def test_ctrl_c_says_that_the_same_command_goes_on(self):
        results = self.folder / "interrupted.h5"
        units = pathlib.Path(f"{results}.units")
        for _ in range(10):
            process = subprocess.Popen(self.command(results, "--force"), stderr=subprocess.PIPE, text=True)
            while process.poll() is None and not list(units.glob("unit-*.h5")):
                pass
            process.send_signal(signal.SIGINT)
            said = process.communicate()[1]
            if process.returncode != 0:
                break
        self.assertEqual(process.returncode, -signal.SIGINT)
        self.assertIn("interrupted; the same command goes on from there", said)
        self.assertTrue(list(units.glob("unit-*.h5")))
        again = subprocess.run(self.command(results, "--force"), capture_output=True, text=True, check=True)
        self.assertIn("taking up an interrupted replay", again.stderr)
        self.assertFalse(units.exists())

    def test_a_shard(self):
        killed, whole = ([self.folder / f"{name}.shard-1-of-2.h5"] for name in ("killed", "whole"))
        self.check(units_of_shard, killed, whole, "--shard", "1/2")


if __name__ == "__main__":
    unittest.main()
