"""Every command that reads a kind of file, by what it is called here: the arguments of the program."""

from pathlib import Path

from tests.hostile.seeds import OTHER_SHARD

RESULT = "made.h5"  # in the folder where the command runs


def commands(kind: str, file: Path, seeds: Path) -> dict[str, list[str]]:
    """`kind`: a value of seeds.KINDS, or "any": the file is taken for each kind in turn."""
    if kind == "any":
        kinds = ("trace", "results", "table", "scorer", "scores", "shard", "retained")
        return {name: run for kind in kinds for name, run in commands(kind, file, seeds).items()}
    inspect = {"inspect": ["inspect", str(file)], "inspect --json": ["inspect", "--json", str(file)]}
    output = ["-b", "0.3", "-j", "1", "-o", RESULT, "--force", "-q"]
    plain = str(seeds / "plain.h5")
    training = [str(seeds / f"training-{seed}.h5") for seed in (1, 2)]
    fitted = ["--least", "2", "-j", "1", "-o", RESULT, "--force", "-q"]
    extras = ["--save-retained", f"{RESULT}.sets", "--save-outputs", f"{RESULT}.outputs"]
    return {
        "trace": {
            **inspect,
            "inspect --quick": ["inspect", "--quick", str(file)],
            "dry run": ["replay", str(file), "-p", "knorm,h2o", *output, "--dry-run"],
            "replay": ["replay", str(file), "-p", "snapkv:window=4,h2o", *output],
        },
        "cache": {**inspect, "replay": ["replay", str(file), "-p", "knorm,keydiff", "-m", "default,overlap", *output]},
        "results": {
            **inspect,
            "compare": ["compare", str(file)],
            "compare --json": ["compare", str(file), "--json", "-"],
            "report": ["report", str(file), "-o", RESULT, "--force", "-q"],
        },
        "outputs": {**inspect, "compare": ["compare", str(file)]},
        "retained": {
            **inspect,
            "tokens": ["report", str(seeds / "results.h5"), "--retained", str(file), "-o", RESULT, "--force", "-q"],
        },
        "table": {**inspect, "table": ["replay", plain, "-p", f"knorm+learned:table={file},trained=allow", *output]},
        "scorer": {
            **inspect,
            "scorer": ["replay", plain, "-p", f"lkv:file={file},trained=allow", *output],
            "fit budgets": ["fit-budgets", *training, "--scorer", f"lkv:file={file},trained=allow", *fitted],
        },
        "scores": {
            "inspect": inspect["inspect"],
            "scores": ["replay", plain, "-p", "knorm,read", "--scores", f"read={file}", *output],
        },
        "shard": {
            **inspect,
            "merge": ["merge", str(file), str(seeds / OTHER_SHARD), "-o", RESULT, "--force", "-q"],
            "merge all": ["merge", str(seeds / OTHER_SHARD), str(file), "-o", RESULT, "--force", "-q", *extras],
        },
    }[kind]
