"""A small random Ripple model whose tokens are bytes: something to train."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers.utils import logging

from .modeling import RippleConfig, RippleForCausalLM


def write(folder: Path, seed: int = 0) -> None:
    """Write config.json, weights and tokenizer; the tokenizer has no chat template."""
    logging.disable_progress_bar()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([], trainer)
    torch.manual_seed(seed)
    config = RippleConfig(vocab_size=tokenizer.get_vocab_size(), eos_token_id=0, pad_token_id=0)
    RippleForCausalLM(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about), encoding="utf-8")
