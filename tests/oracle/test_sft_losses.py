"""Supervised losses beside TRL's trainer on a tiny model: loss, and gradient of every weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from swift.dataset.encoded import Encoded
from swift.method.sft import Sft
from swift.seam.collate import Lay, collate
from swift.seam.logprobs import LogProbs
from tests.kit import tiny_chat_model, worst


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("oracle") / "tiny")


def rows() -> Encoded:
    """Return four sequences of uneven length; their second halves are answers."""
    draw, sizes = np.random.default_rng(0), np.array([5, 11, 8, 17])
    return Encoded(
        ids=draw.integers(3, 250, sizes.sum()).astype(np.int32),
        supervised=np.concatenate([np.arange(size) >= size // 2 for size in sizes]),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        sides=1,
        origins=[""] * len(sizes),
    )


def opened(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder).double()


def theirs(folder: Path, tmp_path: Path, **options: Any) -> tuple[float, dict[str, Tensor]]:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    encoded = rows()
    found = [encoded.sequence(item, 0) for item in range(len(encoded))]
    data = Dataset.from_list(
        [{"input_ids": i.tolist(), "completion_mask": s.astype(int).tolist()} for i, s in found]
    )
    config = SFTConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        bf16=False,
        report_to=[],
        per_device_train_batch_size=4,
        gradient_checkpointing=False,
        completion_only_loss=True,
        disable_tqdm=True,
        **options,
    )
    trainer = SFTTrainer(
        model=opened(folder),
        args=config,
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    trainer.model.train()
    (batch,) = trainer.get_train_dataloader()
    count = (batch["labels"][:, 1:] != -100).sum()
    loss = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=count)
    loss.backward()
    grads = {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}
    return float(loss.detach()), grads


def ours(folder: Path, method: Sft, *, flat: bool) -> tuple[float, dict[str, Tensor]]:
    from swift.seam.segments import SEGMENTED

    model = opened(folder)
    if flat:
        model.set_attn_implementation(SEGMENTED)
    batch = collate(rows(), range(4), Lay(pad_id=0, end_to_end=flat))
    out = LogProbs(model)(batch.inputs, batch.labels_BT, method.needs)
    loss = method.terms(out, batch.rows).total["tokens"] / method.weight(batch.rows)["tokens"]
    torch.autograd.backward(loss)
    return float(loss.detach()), {n: p.grad for n, p in model.named_parameters()}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        (Sft(), {}),
        (Sft(loss="dft"), {"loss_type": "dft"}),
        (Sft(label_smoothing=0.1), {"label_smoothing_factor": 0.1}),
    ],
)
def test_loss_and_gradient_are_trls(
    method: Sft, options: dict[str, Any], flat: bool, folder: Path, tmp_path: Path
) -> None:
    found, grads = ours(folder, method, flat=flat)
    wanted, expected = theirs(folder, tmp_path, **options)
    assert found == pytest.approx(wanted, rel=1e-5)
    largest = max(float(grad.abs().max()) for grad in expected.values())
    assert worst(grads, expected) < 1e-5 * largest
