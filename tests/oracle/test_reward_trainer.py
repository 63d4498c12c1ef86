"""The reward model's loss and gradient beside TRL's RewardTrainer, on one model and batch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from swift.dataset.encoded import Encoded
from swift.method.rm import Rm
from swift.seam.collate import Lay, collate
from swift.seam.scores import Scores
from swift.seam.segments import SEGMENTED
from tests.kit import tiny_model

reward_trainer = pytest.importorskip("trl.trainer.reward_trainer")

PAD, PAIRS = 0, 4


def classifier(folder: Path) -> Any:
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(1)
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        tiny_model(folder), num_labels=1, dtype=torch.float64, pad_token_id=PAD
    )
    torch.nn.init.normal_(model.score.weight, std=0.3)
    return model.eval()


def pairs(margins: list[float]) -> Encoded:
    draw = np.random.default_rng(3)
    sizes = draw.integers(3, 14, 2 * PAIRS)
    return Encoded(
        ids=draw.integers(1, 128, sizes.sum()).astype(np.int32),
        supervised=np.ones(sizes.sum(), dtype=np.bool_),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        sides=2,
        origins=[""] * PAIRS,
        columns={"margin": np.array(margins)},
    )


def gradients(model: Any) -> dict[str, Tensor]:
    found = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    return found


def theirs(model: Any, rows: Encoded, margins: list[float], center: float | None) -> Tensor:
    """Let TRL's own `compute_loss` work on what its collator would give it."""
    sequences = [rows.sequence(i, side)[0] for side in (0, 1) for i in range(PAIRS)]
    width = max(map(len, sequences))
    ids = torch.full((2 * PAIRS, width), PAD)
    mask = torch.zeros_like(ids)
    for b, sequence in enumerate(sequences):
        ids[b, : len(sequence)], mask[b, : len(sequence)] = torch.from_numpy(sequence), 1
    inputs = {"input_ids": ids, "attention_mask": mask}
    if not np.isnan(margins).any():
        inputs["margin"] = torch.tensor(margins, dtype=torch.float64)
    gathered = SimpleNamespace(gather=lambda t: t, gather_for_metrics=lambda t: t)
    metrics: Any = {m: {k: [] for k in METRICS} for m in ("train", "eval")}
    trainer = SimpleNamespace(
        model=model,
        args=SimpleNamespace(center_rewards_coefficient=center),
        accelerator=gathered,
        _metrics=metrics,
        _total_train_tokens=0,
        _tp_size=1,
    )
    found: Tensor = reward_trainer.RewardTrainer.compute_loss(trainer, model, inputs)
    return found


METRICS = ("min_reward", "mean_reward", "max_reward", "accuracy", "margin")


@pytest.mark.parametrize("flat", [False, True], ids=["padded", "end to end"])
@pytest.mark.parametrize("center", [None, 0.01])
@pytest.mark.parametrize("margins", [[float("nan")] * PAIRS, [0.5, 1.0, 0.0, 2.0]])
def test_loss_and_gradient_are_those_of_trl(
    tmp_path: Path, margins: list[float], center: float | None, flat: bool
) -> None:
    model, rows = classifier(tmp_path), pairs(margins)
    expected = theirs(model, rows, margins, center)
    expected.backward()  # type: ignore[no-untyped-call]
    wanted = gradients(model)

    if flat:
        model.set_attn_implementation(SEGMENTED)
    batch = collate(rows, range(PAIRS), Lay(pad_id=PAD, end_to_end=flat, scored=True))
    out = Scores(model)(batch.inputs, batch.labels_BT, frozenset({"score"}))
    found = Rm(center_weight=center or 0.0).terms(out, batch.rows.beside(out.logp_N))
    loss = found.total["pairs"] / PAIRS
    loss.backward()  # type: ignore[no-untyped-call]

    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    largest = max(float(g.abs().max()) for g in wanted.values())
    for name, gradient in gradients(model).items():
        assert float((gradient - wanted[name]).abs().max()) < 1e-5 * largest, name
