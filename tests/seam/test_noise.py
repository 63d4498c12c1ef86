"""Noise on embeddings is the paper's, falls on own tokens alone, and does not know the layout."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.integrations.neftune import neftune_post_forward_hook

from swift.core.errors import PlanError
from swift.dataset.encoded import Encoded
from swift.seam.collate import Lay, collate
from swift.seam.logprobs import LogProbs
from swift.seam.noise import noisy
from swift.seam.segments import SEGMENTED
from swift.seam.types import Batch
from tests.run.test_packing import sequences

WIDE = 32


def model() -> Any:
    sizes = {"hidden_size": WIDE, "intermediate_size": 64, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 128}
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **sizes, **heads))


def laid(rows: Encoded, *, flat: bool = False) -> Batch:
    return collate(rows, range(len(rows)), Lay(pad_id=0, end_to_end=flat))


def embedded(of: Any, batch: Batch, alpha: float | None) -> Tensor:
    """Return what the model's layers are given, [B, T, d]."""
    words: Tensor = of.get_input_embeddings()
    torch.manual_seed(5)
    if alpha is None:
        return words(batch.inputs["input_ids"]).detach()  # type: ignore[operator, no-any-return]
    with noisy(of, batch, alpha):
        return words(batch.inputs["input_ids"]).detach()  # type: ignore[operator, no-any-return]


def test_one_sequence_gets_the_noise_of_transformers() -> None:
    of, batch = model(), laid(sequences(1))
    ours = embedded(of, batch, 5.0)
    words = of.get_input_embeddings()
    words.neftune_noise_alpha = 5.0
    words.register_forward_hook(neftune_post_forward_hook)
    assert words.training
    torch.testing.assert_close(ours, embedded(of, batch, None), rtol=0, atol=1e-6)


def test_each_sequence_is_measured_by_its_own_tokens_and_padding_stays() -> None:
    of, rows = model(), sequences(6)
    batch = laid(rows)
    noise = embedded(of, batch, 5.0) - embedded(of, batch, None)
    for row, size in zip(noise, batch.sizes, strict=True):
        most = 5.0 / math.sqrt(size * WIDE)
        assert 0.95 * most < float(row[:size].abs().max()) <= most * (1 + 1e-5)
        assert not row[size:].any()
    assert len(set(batch.sizes)) > 1


def test_rows_end_to_end_meet_the_noise_of_padded_ones() -> None:
    of, rows = model(), sequences(6)
    padded, flat = laid(rows), laid(rows, flat=True)
    own = torch.cat([r[:s] for r, s in zip(embedded(of, padded, 5.0), padded.sizes, strict=True)])
    assert torch.equal(own, embedded(of, flat, 5.0)[0])
    found = []
    for batch, attention in ((padded, "sdpa"), (flat, SEGMENTED)):
        of.set_attn_implementation(attention)
        torch.manual_seed(5)
        with noisy(of, batch, 5.0):
            found.append(LogProbs(of)(batch.inputs, batch.labels_BT, frozenset({"logp"})).logp_N)
    assert float((found[0] - found[1]).abs().max().detach()) < 1e-5


def test_noise_ends_with_the_forward() -> None:
    of, batch = model(), laid(sequences(2))
    before = embedded(of, batch, None)
    assert not torch.equal(embedded(of, batch, 5.0), before)
    assert torch.equal(embedded(of, batch, None), before)


def test_a_filler_gets_none() -> None:
    of, filler = model(), collate(sequences(2), [], Lay(pad_id=0))
    assert torch.equal(embedded(of, filler, 5.0), embedded(of, filler, None))


def test_a_model_that_reads_otherwise_is_refused() -> None:
    batch = laid(sequences(2))
    with (
        pytest.raises(PlanError, match="has no input embeddings"),
        noisy(nn.Linear(2, 2), batch, 5),
    ):
        pass
    with pytest.raises(PlanError, match="no noise can be laid"), noisy(model(), batch, 5):
        pass  # it did not ask for a word
    other = replace(batch, labels_BT=batch.labels_BT[:, 1:])
    with pytest.raises(PlanError, match="no noise can be laid"):
        embedded(model(), other, 5.0)
