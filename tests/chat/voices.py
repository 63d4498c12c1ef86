"""Tokenizers for tests of templates: byte-level, with special tokens of one's choice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path


def tiny_tokenizer(folder: Path, special: Sequence[str] = (), **more: str) -> Path:
    """Write a byte-level tokenizer with `special` as its first tokens, then <s> and <e>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=len(special) + 258,
        special_tokens=[*special, "<s>", "<e>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(["x"], trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": "<e>", **more}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
