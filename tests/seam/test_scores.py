"""What a head of one number says, at the last token of each sequence and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from swift.core.errors import PlanError
from swift.dataset.encoded import Encoded
from swift.seam.collate import Lay, collate
from swift.seam.scores import Scores
from swift.seam.segments import SEGMENTED
from tests.kit import exact_norms, tiny_model

NEEDS = frozenset({"score"})
SIZES = [9, 3, 14, 5]


def classifier(folder: Path, labels: int = 1) -> Any:
    from transformers import AutoModelForSequenceClassification

    exact_norms()
    torch.manual_seed(1)
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        tiny_model(folder), num_labels=labels, dtype=torch.float64, pad_token_id=0
    )
    torch.nn.init.normal_(model.score.weight, std=0.3)
    return model.eval()


def sequences() -> Encoded:
    ids = np.random.default_rng(2).integers(1, 128, sum(SIZES)).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(SIZES)]).astype(np.int64)
    marks = np.ones(len(ids), dtype=np.bool_)
    origins = [""] * len(SIZES)
    return Encoded(ids=ids, supervised=marks, offsets=offsets, sides=1, origins=origins)


def said(scores: Scores, *, flat: bool) -> Tensor:
    lay = Lay(pad_id=0, end_to_end=flat, scored=True)
    batch = collate(sequences(), range(len(SIZES)), lay)
    out = scores(batch.inputs, batch.labels_BT, NEEDS)
    found: Tensor = out.score_N
    assert not out.logp_N.any()
    return found


def test_they_are_no_view_of_which_fsdp_warns(tmp_path: Path) -> None:
    assert said(Scores(classifier(tmp_path)), flat=False)._base is None


def test_they_are_what_transformers_says_of_each_alone(tmp_path: Path) -> None:
    model, rows = classifier(tmp_path), sequences()
    with torch.no_grad():
        expected = [
            model(torch.from_numpy(rows.sequence(i, 0)[0]).long()[None]).logits[0, 0]
            for i in range(len(SIZES))
        ]
        padded = said(Scores(model), flat=False)
        model.set_attn_implementation(SEGMENTED)
        flat = said(Scores(model), flat=True)
    for found in (padded, flat):
        assert float((found - torch.stack(expected)).abs().max()) < 1e-12


def test_of_no_position_there_is_no_score_but_a_gradient(tmp_path: Path) -> None:
    model = classifier(tmp_path)
    batch = collate(sequences(), [], Lay(pad_id=0, scored=True))
    out = Scores(model)(batch.inputs, batch.labels_BT, NEEDS)
    assert out.score_N is not None and out.score_N.shape == (0,)
    out.score_N.sum().backward()
    assert not model.score.weight.grad.any()


def test_a_score_is_no_half_number(tmp_path: Path) -> None:
    model = classifier(tmp_path).float()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = said(Scores(model), flat=False)
    assert found.dtype == torch.float32
    assert (found != found.bfloat16().float()).any()


def test_the_head_is_whole_again_afterwards(tmp_path: Path) -> None:
    model = classifier(tmp_path)
    said(Scores(model), flat=False)
    assert "forward" not in vars(model.score) and not model.score._forward_hooks


def test_several_labels_are_no_reward(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="a head of 3 numbers, and a reward is one number"):
        Scores(classifier(tmp_path, labels=3))
