"""What pt and sft minimise, as numbers; which tokens they learn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from swift.core.errors import RecipeError
from swift.method import Method
from swift.method.pt import Pt
from swift.method.sft import Sft
from swift.recipe import read
from swift.seam.types import Outputs, Rows


def rows(tokens: int) -> Rows:
    return Rows(row_N=torch.zeros(tokens, dtype=torch.int64), count=1)


def loss_of(method: Method, out: Outputs) -> Tensor:
    found = rows(len(out.logp_N))
    return method.terms(out, found).total["tokens"] / method.weight(found)["tokens"]


def test_the_loss_is_the_mean_over_tokens() -> None:
    logp_N = torch.tensor([-1.0, -2.0, -6.0])
    assert loss_of(Sft(), Outputs(logp_N=logp_N)) == 3
    assert loss_of(Pt(), Outputs(logp_N=logp_N)) == 3


@pytest.mark.parametrize("method", [Sft(label_smoothing=0.1), Pt(label_smoothing=0.1)])
def test_smoothed_labels_cost_what_torchs_cross_entropy_says(method: Method) -> None:
    logits_NV = torch.randn(7, 11, dtype=torch.float64, requires_grad=True)
    labels_N = torch.arange(7)
    logp_NV = logits_NV.log_softmax(-1)
    out = Outputs(logp_N=logp_NV.gather(1, labels_N[:, None])[:, 0], mean_logp_N=logp_NV.mean(-1))
    truth = torch.nn.functional.cross_entropy(logits_NV, labels_N, label_smoothing=0.1)
    assert method.needs == {"logp", "mean_logp"}
    assert float(loss_of(method, out).detach()) == pytest.approx(float(truth.detach()), rel=1e-12)
    (nll, count) = method.terms(out, rows(7)).metrics["nll_loss"]
    assert float(nll) / float(count) == pytest.approx(-float(out.logp_N.detach().mean()))


def test_dft_weighs_a_tokens_gradient_by_its_probability() -> None:
    p_N = torch.tensor([0.5, 0.25, 1.0], dtype=torch.float64)
    logp_N = p_N.log().requires_grad_()
    terms = Sft(loss="dft").terms(Outputs(logp_N=logp_N), rows(3))
    terms.total["tokens"].backward()  # type: ignore[no-untyped-call]
    assert logp_N.grad is not None
    assert torch.allclose(logp_N.grad, -p_N)
    total = float(terms.total["tokens"].detach())
    assert total == pytest.approx(0.5 * math.log(2) + 0.25 * math.log(4))
    assert float(torch.as_tensor(terms.metrics["nll_loss"][0])) == pytest.approx(math.log(8))


@pytest.mark.parametrize("method", [Sft(), Sft(loss="dft"), Sft(label_smoothing=0.1), Pt()])
def test_no_token_costs_nothing(method: Method) -> None:
    none = torch.zeros(0)
    assert method.terms(Outputs(logp_N=none, mean_logp_N=none), rows(0)).total["tokens"] == 0
    assert method.weight(rows(0)) == {"tokens": 0}


def test_the_learnt_tokens_are_those_that_are_named() -> None:
    assert [Sft(loss_on=on).supervise for on in ("answers", "last", "all")] == [
        "answers",
        "last",
        "all",
    ]
    assert Pt().supervise == "all"


def test_pt_reads_text_unless_told_otherwise() -> None:
    assert read(None, (), "pt").task == "text"
    assert read(None, [("task", "chat")], "pt").task == "chat"
    assert read(None, (), "sft").task == "chat"
    assert read(None, (), "pt").dataset[0].name == "nano-lines"


@pytest.mark.parametrize(
    ("word", "value", "method"),
    [
        ("all_tokens", True, Sft(loss_on="all")),
        ("assistant_only_loss", False, Sft(loss_on="all")),
        ("train_on_prompt", True, Sft(loss_on="all")),
        ("mask_history", True, Sft(loss_on="last")),
        ("loss_scale", "last_round", Sft(loss_on="last")),
        ("loss_scale", "default", Sft(loss_on="answers")),
        ("loss_type", "dft", Sft(loss="dft")),
        ("use_dft_loss", True, Sft(loss="dft")),
        ("enable_dft_loss", True, Sft(loss="dft")),
        ("label_smoothing_factor", 0.2, Sft(label_smoothing=0.2)),
    ],
)
def test_other_toolkits_words_are_understood(word: str, value: object, method: Sft) -> None:
    assert read(None, [(word, value)], "sft").method == method


def test_noise_is_asked_for_in_others_words() -> None:
    assert read(None, [("neftune_noise_alpha", 5)], "dpo").train.neftune == 5


def test_dft_smooths_no_label() -> None:
    with pytest.raises(RecipeError, match="do not go together"):
        read(None, [("loss", "dft"), ("label_smoothing", 0.1)], "sft")
