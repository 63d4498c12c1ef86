"""How long tables of a real size take to become fast tokenizers, without their packages.

    python bench/ranks.py

The tables are made up: a rank file with the 151,643 tokens of qwen.tiktoken, the longest of 128
blanks; a sentencepiece model with the 125,696 pieces of Baichuan2.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swift.model.quirks import _sentencepiece as sentencepiece
from swift.model.quirks._tiktoken import WORDS, fast_tokenizer

RANKS, PIECES = 151_643, 125_696


def ranks() -> dict[bytes, int]:
    """Return ranks in which every token is merged of two before it."""
    draw = random.Random(0)
    made = {bytes([byte]): byte for byte in range(256)}
    blanks = b" "
    while len(blanks) < 128:
        blanks += b" " * min(len(blanks), 128 - len(blanks))
        made[blanks] = len(made)
    tokens = list(made)
    while len(made) < RANKS:
        token = draw.choice(tokens[:2_500]) + draw.choice(tokens[:800])
        if token not in made and len(token) <= 20:
            made[token] = len(made)
            tokens.append(token)
    return made


def pieces() -> sentencepiece.Pieces:
    """Return pieces of which every one is merged of two before it."""
    draw = random.Random(0)
    made = dict.fromkeys("▁abcdefghijklmnopqrstuvwxyz")
    made |= dict.fromkeys(chr(0x4E00 + i) for i in range(8_000))
    texts = list(made)
    while len(texts) < PIECES - 3:
        text = draw.choice(texts[:2_500]) + draw.choice(texts[:800])
        if text not in made:
            made[text] = None
            texts.append(text)
    kinds = [sentencepiece.UNKNOWN, sentencepiece.CONTROL, sentencepiece.CONTROL]
    return sentencepiece.Pieces(
        texts=["<unk>", "<s>", "</s>", *texts],
        scores=[0.0, 0.0, 0.0, *(-float(i) for i in range(len(texts)))],
        kinds=[*kinds, *[sentencepiece.NORMAL] * len(texts)],
        model=2,
        bytewise=False,
        prefix=True,
        squeezed=False,
        charsmap=b"",
    )


def timed(name: str, convert: Callable[[], dict[str, Any]]) -> None:
    """Print the CPU seconds of a conversion, and of writing it down."""
    begin = time.process_time()
    made = convert()
    converted = time.process_time()
    text = json.dumps(made, ensure_ascii=False)
    written = time.process_time() - converted
    print(
        f"{name}: {len(made['model']['vocab'])} tokens, {len(made['model']['merges'])} merges: "
        f"converted in {converted - begin:.2f} CPU s, written in {written:.2f} CPU s "
        f"({len(text) / 1e6:.1f} M characters)"
    )


def main() -> None:
    """Convert both tables."""
    words, end = WORDS.format(digits=r"\p{N}"), {"<|endoftext|>": RANKS}
    table, model = ranks(), pieces()
    timed("ranks", lambda: fast_tokenizer(table, end, words))
    special = {"<s>": 1, "</s>": 2}
    timed("pieces", lambda: sentencepiece.fast_tokenizer(model, Path("tokenizer.model"), special))


if __name__ == "__main__":
    main()
