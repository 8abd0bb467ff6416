"""Makes the seeds of the fuzz targets: python tests/fuzz/make_corpus.py PROGRAM

index/: what kvreplay-reader says about small files. codec/: chunks by the filters that files may use.
"""

import os
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import h5py
import numpy as np

CORPUS = Path(__file__).parent / "corpus"


def index_of(reader: Path, file: Path) -> bytes:
    """The reader's answer about a file, without what stands before the index."""
    descriptor = os.open(file, os.O_RDONLY)
    os.dup2(descriptor, 3)
    answer = subprocess.run(
        [reader, "1", "5", str(512 << 20), str(64 << 20), "0", "0", "1"],
        stdout=subprocess.PIPE,
        pass_fds=[3],
        check=True,
    ).stdout
    ready, length = 8 + int.from_bytes(answer[:8], "little"), 8
    assert answer[8:9] == b"R" and answer[ready + length : ready + length + 1] == b"I"
    return answer[ready + length + 1 :]


def write_varied(file: Path) -> None:
    with h5py.File(file, "w") as h5:
        h5["scalar"] = 1.5
        h5["texts"] = ["a", "naïve"]
        h5.create_dataset("fixed", data=np.array([b"ab", b"c"]))
        h5.create_dataset("gzip", data=np.arange(60).reshape(5, 12), chunks=(2, 5), compression=4, shuffle=True)
        h5.create_dataset("sum", data=np.arange(6, dtype="f4"), chunks=(4,), fletcher32=True)
        h5["group/deep"] = np.zeros((2, 3), "f2")
        h5["soft"] = h5py.SoftLink("/group/deep")
        h5["elsewhere"] = h5py.ExternalLink("other.h5", "/x")
        h5.attrs["list"] = [1, 2, 3]


def codec_seeds() -> dict[str, bytes]:
    """As codec_fuzz.cpp reads them: filters, mask, size of the chunk, stored bytes."""
    chunk = bytes(range(64)) * 4
    shuffled = np.frombuffer(chunk, "u1").reshape(-1, 4).T.tobytes()
    head = struct.pack("<H", len(chunk))
    return {
        "plain": b"\x00\x00" + head + chunk,
        "gzip": b"\x02\x00" + head + zlib.compress(chunk),
        "shuffled-gzip": b"\x33\x00" + head + zlib.compress(shuffled),
        "sum": b"\x08\x00" + head + chunk + b"\x00\x00\x00\x00",
        "left-out": b"\x02\x01" + head + chunk,
    }


def main() -> None:
    program = Path(sys.argv[1])
    for folder in ("index", "codec"):
        (CORPUS / folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        trace, results, varied = (Path(work) / name for name in ("trace.h5", "results.h5", "varied.h5"))
        small = [
            "--layers",
            "1",
            "--q-heads",
            "2",
            "--kv-heads",
            "1",
            "--prompt",
            "24",
            "--decode",
            "4",
            "--question",
            "4",
        ]
        subprocess.run([program, "synth", "-o", trace, *small], check=True)
        subprocess.run([program, "replay", trace, "-p", "knorm", "-b", "0.5", "-o", results, "-q"], check=True)
        write_varied(varied)
        for file in (trace, results, varied):
            (CORPUS / "index" / file.stem).write_bytes(index_of(program.parent / "kvreplay-reader", file))
    for name, seed in codec_seeds().items():
        (CORPUS / "codec" / name).write_bytes(seed)


if __name__ == "__main__":
    main()
