"""Losses on preferences beside TRL's: value, and gradient by every token's log-probability."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from swift.method import Method
from swift.method.cpo import Cpo
from swift.method.dpo import Dpo
from swift.method.kto import Kto
from swift.method.orpo import Orpo
from swift.method.simpo import Simpo
from swift.seam.types import Outputs, Rows, View

PAIRS, WIDTH = 5, 7
NAMES = {"sppo": "sppo_hard", "exo": "exo_pair", "nca": "nca_pair", "bco": "bco_pair"}
"""What TRL calls a loss, where it says another word."""


class Case:
    """Answers of uneven length, [B, T]; the first half of the rows are the chosen ones."""

    def __init__(self, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        sizes = torch.randint(1, WIDTH + 1, (2 * PAIRS,), generator=draw)
        self.mask_BT = torch.arange(WIDTH)[None] < sizes[:, None]
        self.logp_BT = -torch.rand(2 * PAIRS, WIDTH, generator=draw, dtype=torch.float64) * 2
        self.logp_BT = (self.logp_BT * self.mask_BT).requires_grad_()
        self.reference_B = -torch.rand(2 * PAIRS, generator=draw, dtype=torch.float64) * 6
        self.other_B = -torch.rand(2 * PAIRS, generator=draw, dtype=torch.float64) * 6
        self.label_B = torch.rand(2 * PAIRS, generator=draw) > 0.4

    @property
    def out(self) -> Outputs:
        return Outputs(logp_N=self.logp_BT[self.mask_BT])

    def rows(self, **columns: Tensor) -> Rows:
        row_N = self.mask_BT.nonzero()[:, 0]
        return Rows(row_N=row_N, count=2 * PAIRS, columns=columns)


def ours(method: Method, case: Case, rows: Rows) -> tuple[float, Tensor]:
    """Return the loss of one step and its gradient."""
    weight, terms = method.weight(rows), method.terms(case.out, rows)
    loss = torch.stack([total / weight[part] for part, total in terms.total.items()]).sum()
    (gradient,) = torch.autograd.grad(loss, case.logp_BT)
    return float(loss.detach()), gradient


def equal(found: tuple[float, Tensor], loss: Tensor, case: Case) -> None:
    (gradient,) = torch.autograd.grad(loss, case.logp_BT)
    gradient = gradient * case.mask_BT  # where there is no token, log p is a constant
    assert found[0] == pytest.approx(float(loss.detach()), rel=1e-6)
    assert (found[1] - gradient).abs().max() <= 1e-5 * gradient.abs().max()


class Alone:
    """What TRL asks of accelerate, where there is one process."""

    device = torch.device("cpu")

    def gather(self, value: Tensor) -> Tensor:
        return value

    gather_for_metrics = gather


def trainer(cls: type, **fields: Any) -> Any:
    """Return a trainer of TRL's that was never built, with what its loss looks at."""
    made: Any = object.__new__(cls)
    vars(made).update(
        accelerator=Alone(),
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
        **fields,
    )
    return made


def inputs(case: Case) -> dict[str, Tensor]:
    """Return a batch whose first token is the prompt, and whose model answers with the case."""
    first = torch.zeros(2 * PAIRS, 1, dtype=torch.int64)
    mask = torch.cat([first, case.mask_BT.long()], 1)
    return {"input_ids": mask, "attention_mask": torch.ones_like(mask), "completion_mask": mask}


def answering(case: Case) -> Any:
    none = torch.zeros(2 * PAIRS, WIDTH)
    said = SimpleNamespace(
        log_probs=case.logp_BT, entropy=none, mean_logits=none, is_top1=none.bool()
    )
    return lambda **more: said


CASES = [
    *((name, 0.0) for name in ("sigmoid", "sigmoid_norm", "hinge", "ipo", "sppo", "nca", "bco")),
    *(("apo_zero", 0.0), ("apo_down", 0.0), ("robust", 0.2), ("exo", 0.05)),
]


@pytest.mark.parametrize(("loss", "smoothing"), CASES)
def test_each_loss_of_dpo_is_trls(loss: Any, smoothing: float) -> None:
    from trl.trainer.dpo_trainer import DPOTrainer

    case = Case()
    theirs = trainer(
        DPOTrainer,
        ld_alpha=None,
        f_divergence_type="reverse_kl",
        loss_types=[NAMES.get(loss, loss)],
        loss_weights=[1.0],
        beta=0.3,
        label_smoothing=smoothing,
        use_weighting=False,
    )
    batch = inputs(case)
    batch["ref_chosen_logps"], batch["ref_rejected_logps"] = case.reference_B.chunk(2)
    method = Dpo(beta=0.3, loss=loss, label_smoothing=smoothing)
    found = ours(method, case, case.rows(reference_logp_B=case.reference_B))
    equal(found, theirs._compute_loss(answering(case), batch, False), case)


def test_losses_add_up_by_their_weights_and_the_likelihood_beside_them() -> None:
    from trl.trainer.dpo_trainer import DPOTrainer

    case = Case(1)
    theirs = trainer(
        DPOTrainer,
        ld_alpha=None,
        f_divergence_type="reverse_kl",
        loss_types=["sigmoid", "bco_pair", "sft"],
        loss_weights=[0.8, 0.2, 0.5],
        beta=0.1,
        label_smoothing=0.0,
        use_weighting=False,
    )
    batch = inputs(case)
    batch["ref_chosen_logps"], batch["ref_rejected_logps"] = case.reference_B.chunk(2)
    method = Dpo(loss={"sigmoid": 0.8, "bco": 0.2}, sft_weight=0.5)
    found = ours(method, case, case.rows(reference_logp_B=case.reference_B))
    equal(found, theirs._compute_loss(answering(case), batch, False), case)


def test_smoothed_labels_are_a_mixture_of_both_orders() -> None:
    case = Case(2)
    rows = case.rows(reference_logp_B=case.reference_B)
    plain, _ = ours(Dpo(beta=0.3), case, rows)
    turned = case.rows(reference_logp_B=case.reference_B.roll(PAIRS))
    case.mask_BT, case.logp_BT = case.mask_BT.roll(PAIRS, 0), case.logp_BT.roll(PAIRS, 0)
    turned = Rows(row_N=case.mask_BT.nonzero()[:, 0], count=2 * PAIRS, columns=turned.columns)
    other, _ = ours(Dpo(beta=0.3), case, turned)
    smoothed, _ = ours(Dpo(beta=0.3, label_smoothing=0.1), case, turned)
    assert smoothed == pytest.approx(0.9 * other + 0.1 * plain)


@pytest.mark.parametrize(("loss", "theirs"), [("kto", "kto"), ("apo_zero", "apo_zero_unpaired")])
def test_kto_is_trls(loss: Any, theirs: str) -> None:
    from trl.trainer.kto_trainer import KTOTrainer

    case = Case(3)
    method = Kto(beta=0.3, loss=loss, desirable_weight=1.2, undesirable_weight=0.7)
    rows = case.rows(reference_logp_B=case.reference_B, label_B=case.label_B.double())
    reference_B = case.other_B - 0.4
    aside = Rows(
        row_N=torch.arange(2 * PAIRS),
        count=2 * PAIRS,
        columns={"reference_logp_B": reference_B},
    )
    outs = {"other": Outputs(logp_N=case.other_B)}
    view = View(rows=[rows], outs=[outs], aside=[aside], sum=lambda t: t, gather=lambda t: (t, 0))
    (constants,) = method.constants(view)
    rows = case.rows(**rows.columns, **constants)
    other = trainer(
        KTOTrainer,
        loss_type=theirs,
        calculate_KL=loss == "kto",
        beta=0.3,
        desirable_weight=1.2,
        undesirable_weight=0.7,
    )
    other._compute_kl_logps = lambda model, batch: case.other_B
    batch = inputs(case) | {"label": case.label_B, "ref_logps": case.reference_B}
    batch["ref_KL_logps"] = reference_B
    equal(ours(method, case, rows), other._compute_loss(answering(case), batch, False), case)


def nll(case: Case) -> Tensor:
    return -case.logp_BT[:PAIRS][case.mask_BT[:PAIRS]].mean()


def sums(case: Case) -> Any:
    return case.logp_BT.sum(1).chunk(2)


def means(case: Case) -> Any:
    return (case.logp_BT.sum(1) / case.mask_BT.sum(1)).chunk(2)


def test_orpos_odds_are_trls() -> None:
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

    case = Case(4)
    theirs: Any = trainer(ORPOTrainer, beta=0.3)
    losses = ORPOTrainer.odds_ratio_loss(theirs, *means(case))[0]
    equal(ours(Orpo(beta=0.3), case, case.rows()), nll(case) - losses.mean(), case)


@pytest.mark.parametrize("loss", ["sigmoid", "hinge"])
def test_cpo_is_trls(loss: Any) -> None:
    from trl.experimental.cpo.cpo_trainer import CPOTrainer

    case = Case(5)
    theirs: Any = trainer(CPOTrainer, alpha=0.0, beta=0.2, loss_type=loss, label_smoothing=0.1)
    losses = CPOTrainer.cpo_loss(theirs, *sums(case))[0]
    method = Cpo(beta=0.2, loss=loss, label_smoothing=0.1, sft_weight=0.7)
    equal(ours(method, case, case.rows()), losses.mean() + 0.7 * nll(case), case)


def test_simpo_is_trls() -> None:
    from trl.experimental.cpo.cpo_trainer import CPOTrainer

    case = Case(6)
    theirs: Any = trainer(
        CPOTrainer, alpha=0.0, beta=2.5, loss_type="simpo", label_smoothing=0.0, simpo_gamma=1.4
    )
    losses = CPOTrainer.cpo_loss(theirs, *means(case))[0]
    found = ours(Simpo(beta=2.5, gamma=1.4), case, case.rows())
    equal(found, losses.mean(), case)


def test_a_sure_answer_has_finite_odds() -> None:
    case = Case(7)
    case.logp_BT = (case.logp_BT * 0).detach().requires_grad_()
    loss, gradient = ours(Orpo(), case, case.rows())
    assert torch.isfinite(torch.tensor(loss))
    assert torch.isfinite(gradient).all()
