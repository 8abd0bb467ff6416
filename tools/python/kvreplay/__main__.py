"""The command kvreplay of the package: commands in Python run here, for all others this becomes the program."""

import os
import sys
from importlib import import_module
from importlib.util import find_spec

# Commands in Python: their modules, whose command() is the console script kvreplay-NAME too; the extras that they want; and
# a library of each, by which it is seen whether the extra is there.
PYTHON_COMMANDS = {
    "record": ("kvreplay.commands.record", "record", "torch"),
    "import": ("kvreplay.commands.import_trace", "import", "safetensors"),
    "train": ("kvreplay.commands.train", "train", "torch"),
    "validate": ("kvreplay.commands.validate", "record", "torch"),
}


def main() -> int:
    """The console script."""
    words = sys.argv[1:]
    if len(words) == 2 and words[0] == "help":
        words = [words[1], "--help"]
    if words and words[0] in PYTHON_COMMANDS:
        return _run(*words)
    return _become_program(sys.argv[1:])


def _run(name: str, *words: str) -> int:
    module, extra, library = PYTHON_COMMANDS[name]
    if "--help" in words and find_spec(library) is None:
        print(f"kvreplay: note: {name} needs more than is installed: pip install 'kvreplay[{extra}]'", file=sys.stderr)
    sys.argv[1:] = words
    return import_module(module).command()


def _become_program(words: list[str]) -> int:
    from .common.errors import UsageError
    from .common.kvreplay_program import find_program

    try:
        program = find_program()
        os.execv(program, [program, *words])
    except UsageError as error:
        reason, code = str(error), error.exit_code
    except OSError as error:
        reason, code = f"{program}: cannot be run: {error.strerror}", 1
    print(f"kvreplay: {reason}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
