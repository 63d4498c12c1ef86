"""Answers that share a row look at one prompt: what is said of them, and learnt, stays the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from swift.dataset.encoded import Encoded
from swift.seam.collate import Lay, collate
from swift.seam.logprobs import LogProbs
from swift.seam.segments import _READ, SEGMENTED, segmented
from swift.seam.types import IGNORE, Batch
from tests.kit import exact_norms, worst

WORDS = 64
PADDED, WHOLE = Lay(pad_id=0), Lay(pad_id=0, end_to_end=True)
SHARED = Lay(pad_id=0, end_to_end=True, shared=True)

LONG = list(range(10, 30))
PAIRS: dict[str, list[tuple[list[int], list[int], list[int]]]] = {
    "prompt, chosen, rejected": [(LONG, [1, 2, 3], [4, 5]), (LONG[::-1], [6], [7, 8, 9, 1, 2])],
    "nothing in common": [([], [1, 2, 3], [4, 5, 6, 7])],
    "prompts of one token": [([9], [1, 2, 3], [4, 5]), ([8], [2], [3])],
    "answers that begin alike": [(LONG, [1, 2, 3, 4], [1, 2, 5])],
    "the same answer twice": [(LONG, [1, 2, 3], [1, 2, 3])],
    "one answer begins the other": [(LONG, [1, 2], [1, 2, 3]), (LONG, [1, 2, 3], [1, 2])],
}


def pairs(said: Sequence[tuple[list[int], list[int], list[int]]], sides: int = 2) -> Encoded:
    """Return items of (prompt, answers), supervised in the answers."""
    rows = [(prompt, answer) for prompt, *answers in said for answer in answers]
    sizes = [len(prompt) + len(answer) for prompt, answer in rows]
    return Encoded(
        ids=np.array([i for prompt, answer in rows for i in prompt + answer], dtype=np.int32),
        supervised=np.concatenate([np.arange(len(p) + len(a)) >= len(p) for p, a in rows]),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        sides=sides,
        origins=[""] * len(said),
    )


def laid(rows: Encoded, lay: Lay) -> Batch:
    return collate(rows, range(len(rows)), lay)


# --- how they lie --------------------------------------------------------------------------------


def test_the_prompt_lies_once_and_its_last_token_twice() -> None:
    batch = laid(pairs([([5, 6, 7], [1, 2], [3])]), SHARED)
    assert batch.inputs["input_ids"].tolist() == [[5, 6, 7, 1, 2, 7, 3]]
    assert batch.inputs["position_ids"].tolist() == [[0, 1, 2, 3, 4, 2, 3]]
    assert batch.labels_BT.tolist() == [[IGNORE, IGNORE, 1, 2, IGNORE, 3, IGNORE]]
    assert batch.inputs["segments"].tolist() == [[0, 5, 0, 0], [5, 7, 0, 2]]
    assert batch.rows.row_N.tolist() == [0, 0, 1]


@pytest.mark.parametrize("said", PAIRS.values(), ids=PAIRS)
def test_a_method_sees_the_rows_of_padding(said: list[tuple[list[int], ...]]) -> None:
    padded, shared = (laid(pairs(said), lay) for lay in (PADDED, SHARED))  # type: ignore[arg-type]
    assert torch.equal(padded.rows.row_N, shared.rows.row_N)
    assert padded.rows.count == shared.rows.count
    labels = [batch.labels_BT[batch.labels_BT != IGNORE] for batch in (padded, shared)]
    assert torch.equal(*labels)
    assert padded.sizes == shared.sizes


def test_what_is_trained_is_not_left_out() -> None:
    """Of turns that are trained in the middle, each row keeps its own."""
    rows = pairs([(LONG, [1, 2], [3])])
    rows.supervised[[5, 27]] = True  # token 5 of both
    begin, _, stem, stop = laid(rows, SHARED).inputs["segments"].tolist()[1]
    assert (begin, stem, stop) == (22, 0, 4)


def test_a_score_is_asked_at_the_last_token_so_all_before_it_is_shared() -> None:
    lay = Lay(pad_id=0, end_to_end=True, shared=True, scored=True)
    batch = laid(pairs([(LONG, [1, 2, 3], [1, 2, 4])]), lay)
    assert batch.inputs["input_ids"].shape == (1, 24)
    assert batch.inputs["segments"].tolist() == [[0, 23, 0, 0], [23, 24, 0, 22]]


def test_three_answers_share_one_prompt() -> None:
    said: Any = [(LONG, [1, 2], [3], [4, 5]), ([7, 8], [1], [2], [3])]
    batch = laid(pairs(said, sides=3), SHARED)
    assert batch.inputs["input_ids"].shape[1] == (22 + 3) + (2 + 2) + (3 + 2)
    assert [s[2:] for s in batch.inputs["segments"].tolist()[2:]] == [
        [0, 19],
        [22, 23],
        [0, 19],
        [22, 23],
    ]


# --- what is said of them ------------------------------------------------------------------------

WINDOWED = {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}
KINDS: dict[str, dict[str, Any]] = {
    "qwen2": {},
    "qwen2, windowed": {"use_sliding_window": True, **WINDOWED},
    "llama": {"num_key_value_heads": 1},
    "gpt_neox": {},
    "mistral": {"sliding_window": 7},
    "gemma2": {"head_dim": 8, "attn_logit_softcapping": 2.0, **WINDOWED},
}
EXACT = ("qwen2", "qwen2, windowed", "gpt_neox")
"""Norms and softmax of the others compute in float32 whatever the model's type."""

OWN = {"gemma2": "eager"}
"""What attends in their padded rows; sdpa in others'."""


def model_of(kind: str) -> Any:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": WORDS}
    config = AutoConfig.for_model(kind.split(",")[0], **{**sizes, **heads, **KINDS[kind]})
    torch.manual_seed(0)
    model = (
        AutoModelForCausalLM.from_config(config, attn_implementation=OWN.get(kind, "sdpa"))
        .double()
        .eval()
    )
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.normal_(0, 0.3)  # or attention would be all but even
    return model


def said_of(model: Any, batch: Batch, attention: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Return log-probabilities, and the gradients of an uneven sum of them."""
    model.set_attn_implementation(attention)
    model.zero_grad()
    logp_N = LogProbs(model)(batch.inputs, batch.labels_BT, frozenset({"logp"})).logp_N
    (logp_N * torch.linspace(-1, 2, len(logp_N), dtype=logp_N.dtype)).sum().backward()
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return logp_N.detach(), grads


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("said", PAIRS.values(), ids=PAIRS)
def test_log_probabilities_and_gradients_are_those_of_padded_rows(
    kind: str, said: list[tuple[list[int], list[int], list[int]]]
) -> None:
    exact_norms()
    model, rows = model_of(kind), pairs(said)
    wanted, expected = said_of(model, laid(rows, PADDED), OWN.get(kind, "sdpa"))
    found, got = said_of(model, laid(rows, SHARED), SEGMENTED)
    bound = 1e-10 if kind in EXACT else 1e-5
    assert float((found - wanted).abs().max()) < bound
    assert worst(got, expected) < bound * max(float(g.abs().max()) for g in expected.values())


HEADS = {"all alike": (4, 4), "grouped": (4, 2), "one of keys": (4, 1)}
LOOKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scaled": {"scaling": 0.7},
    "windowed": {"sliding_window": 5},
    "capped": {"softcap": 1.5},
    "capped and windowed": {"softcap": 1.5, "sliding_window": 4},
}


def attend(query: Tensor, key: Tensor, value: Tensor, cut: Tensor, **look: Any) -> Tensor:
    return segmented(torch.nn.Module(), query, key, value, None, segments=cut, **look)[0]


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
@pytest.mark.parametrize("heads", HEADS.values(), ids=HEADS)
def test_attention_over_a_shared_beginning_is_attention_over_the_whole(
    heads: tuple[int, int], look: dict[str, Any]
) -> None:
    """A stem of 9 tokens with 4 after it, and 6 others after it elsewhere."""
    draw = torch.Generator().manual_seed(1)

    def drawn(count: int) -> Tensor:
        return torch.randn(1, count, 19, 8, generator=draw, dtype=torch.float64)

    tensors = [drawn(count).requires_grad_() for count in (heads[0], heads[1], heads[1])]
    shares = drawn(heads[0]).transpose(1, 2)
    kept = torch.tensor([[0, 13, 0, 0], [13, 19, 0, 9]])
    other = [*range(9), *range(13, 19)]
    whole = [t[:, :, [*range(13), *other]] for t in tensors]

    query, keys, values = tensors
    out = attend(query, keys, values, kept, **look)
    apart = torch.tensor([[0, 13, 0, 0], [13, 28, 0, 0]])
    twice = attend(whole[0], whole[1], whole[2], apart, **look)
    wanted = torch.cat([twice[:, :13], twice[:, 22:]], 1)
    bound = 1e-6 if "softcap" in look else 1e-12  # the softmax of capped scores is in float32
    assert float((out - wanted).detach().abs().max()) < bound
    grads = [torch.autograd.grad((o * shares).sum(), tensors) for o in (out, wanted)]
    for got, expected in zip(*grads, strict=True):
        assert float((got - expected).abs().max()) < 10 * bound


def test_ranges_are_read_once_and_forgotten_with_their_batch() -> None:
    query = torch.randn(1, 2, 5, 4)
    kept = torch.tensor([[0, 3, 0, 0], [3, 5, 0, 2]])
    outs = [attend(query, query, query, kept)]
    assert len(_READ) == 1
    kept.zero_()  # what was read holds
    outs.append(attend(query, query, query, kept))
    assert torch.equal(*outs)
    del kept
    assert len(_READ) == 0
