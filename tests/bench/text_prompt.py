#!/usr/bin/env python3
"""Writes a prompts file with one plain text cut to an exact number of tokens.

    python tests/bench/text_prompt.py --model MODEL --tokens 4486 /usr/share/common-licenses/GPL-3 ... > 4k.jsonl
    python tests/bench/text_prompt.py --model MODEL --tokens 5510 --point 4486 FILES... > 4k-1024.jsonl

With --point, policies act there too: the tokens after it are read by evaluation queries that no decoding makes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from kvreplay.common.model_loader import open_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("files", nargs="+", type=Path, help="texts, joined in this order")
    parser.add_argument("--model", required=True, type=Path, help="as for kvreplay record")
    parser.add_argument("--tokens", required=True, type=int)
    parser.add_argument("--point", type=int, help="compression point, in tokens")
    options = parser.parse_args()
    tokenizer = open_model(options.model, None).tokenizer
    text = "\n".join(path.read_text(encoding="utf-8") for path in options.files)
    prompt = {"name": "text", "text": first_tokens(text, options.tokens, tokenizer)}
    if options.point is not None:
        prompt["compression_points"] = {"middle": options.point}
    print(json.dumps(prompt))


def first_tokens(text: str, n_tokens: int, tokenizer) -> str:
    offsets = tokenizer(text, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    if len(offsets) < n_tokens:
        sys.exit(f"the texts have {len(offsets)} tokens, less than {n_tokens}")
    cut = text[: offsets[n_tokens - 1][1]]
    if len(tokenizer(cut, verbose=False)["input_ids"]) != n_tokens:
        sys.exit(f"no cut of the text has {n_tokens} tokens; try one more or less")
    return cut


if __name__ == "__main__":
    main()
