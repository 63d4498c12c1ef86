"""Four micro-batches of two are one of eight, to the last digits; averages of averages are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from swift.method import Method
from swift.method.dpo import Dpo
from swift.method.sft import Sft
from swift.model.facts import read_facts
from swift.optimizer.adamw import AdamW
from swift.parallel import Site
from swift.parallel._torch import TorchPlacement
from swift.run.loop import one_step
from swift.run.source import ModelSource
from swift.seam.types import Batch, Outputs, Rows, Terms
from swift.tuner.full import Full
from tests.kit import bare_job, batch, exact_norms, random_rows, tiny_model, worst

STEPS = 20


class MeanOfMeans(Sft):
    """The mistake: each micro-batch divides by its own tokens, and micro-batches count alike."""

    def weight(self, rows: Rows) -> dict[str, float]:
        return {"micro-batches": 1.0}

    def terms(self, out: Outputs, rows: Rows) -> Terms:
        return Terms(total={"micro-batches": -out.logp_N.sum() / max(1, rows.tokens)})


@dataclass
class Run:
    gradients: list[dict[str, Tensor]] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)


def rows_of(step: int) -> list[tuple[list[int], list[bool]]]:
    """Eight rows of uneven length; two of them carry no label."""
    rows = random_rows(8, seed=step, low=3, high=24)
    silent = 2 * (step % 4)
    return [
        (ids, [False] * len(ids) if silent <= i < silent + 2 else on)
        for i, (ids, on) in enumerate(rows)
    ]


def run(folder: Path, method: Method, cut: Callable[[list[Any]], Sequence[Batch]]) -> Run:
    exact_norms()
    source = ModelSource(read_facts("tiny", folder), Full(), dtype="float64")
    site = Site(dtype="float64")
    policy = TorchPlacement(source, "policy", AdamW(), 1e-3, site)
    frozen = {}
    if method.passes:
        frozen = {"reference": TorchPlacement(source, "reference", None, 0.0, site)}
    made = Run()
    step = policy.step

    def seen(max_norm: float | None, rate: float) -> Any:
        made.gradients.append({n: p.grad.clone() for n, p in policy.trained if p.grad is not None})
        return step(max_norm, rate)

    policy.step = seen  # type: ignore[method-assign]
    job = bare_job(policy, method, frozen)
    for number in range(STEPS):
        one_step(job, cut(rows_of(number)), 1.0)
    made.weights = {n: w.clone() for n, w in policy.weights(trained_only=False)}
    return made


def whole(rows: list[Any]) -> list[Batch]:
    return [batch(rows)]


def in_twos(rows: list[Any]) -> list[Batch]:
    return [batch(rows[i : i + 2]) for i in range(0, len(rows), 2)]


def pairs(rows: list[Any]) -> list[Batch]:
    """Rows 2i and 2i + 1 are a pair: two pairs to a micro-batch, chosen first."""
    return [batch([*rows[i : i + 4 : 2], *rows[i + 1 : i + 4 : 2]]) for i in range(0, len(rows), 4)]


def all_pairs(rows: list[Any]) -> list[Batch]:
    return [batch([*rows[::2], *rows[1::2]])]


def furthest(a: Run, b: Run) -> float:
    return max(worst(x, y) for x, y in zip(a.gradients, b.gradients, strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


def test_four_times_two_is_one_times_eight(folder: Path) -> None:
    one, four = run(folder, Sft(), whole), run(folder, Sft(), in_twos)
    assert furthest(one, four) < 1e-10
    assert worst(one.weights, four.weights) < 1e-8


def test_two_times_two_pairs_is_one_times_four(folder: Path) -> None:
    one, two = run(folder, Dpo(), all_pairs), run(folder, Dpo(), pairs)
    assert furthest(one, two) < 1e-10
    assert worst(one.weights, two.weights) < 1e-8


def test_averaging_averages_is_found_out(folder: Path) -> None:
    one, four = run(folder, Sft(), whole), run(folder, MeanOfMeans(), in_twos)
    assert furthest(one, four) > 1e-3
    assert worst(one.weights, four.weights) > 1e-3


def test_the_first_gradient_is_autograds_own(folder: Path) -> None:
    """Beside transformers' own logits and torch's own cross-entropy."""
    from transformers import AutoModelForCausalLM

    exact_norms()
    made = run(folder, Sft(), in_twos)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    made_whole = batch(rows_of(0))
    logits = model(**made_whole.inputs).logits
    torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), made_whole.labels_BT.flatten()
    ).backward()  # type: ignore[no-untyped-call]
    plain = {f"model.{n}": p.grad for n, p in model.named_parameters()}
    assert worst(made.gradients[0], plain) < 1e-10
