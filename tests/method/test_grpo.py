"""GRPO as numbers: what is compared with what, and that cutting a rollout up changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from swift.core.errors import RecipeError
from swift.method._variants import VARIANTS
from swift.method.grpo import Grpo
from swift.recipe import read
from swift.seam.head import Post
from swift.seam.logprobs import LogProbs
from swift.seam.types import Outputs, Rows, View

NONE = float("nan")
SIZES = [3, 1, 4, 0, 2, 5, 2, 1]
"""Tokens of eight answers; one of them was cut, and is left out."""

GROUPS = [7.0, 7.0, 9.0, 9.0, 7.0, 9.0, 7.0, 9.0]
REWARDS = [1.0, 0.0, 0.5, -1.0, 2.0, NONE, 0.25, 3.0]


class Answers:
    """Eight answers: log p by the policy, by the one that drew, by the reference."""

    def __init__(self, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        count = sum(SIZES)
        self.ends = [sum(SIZES[: i + 1]) for i in range(len(SIZES))]
        self.old, self.reference, self.now = (
            -3 * torch.rand(count, generator=draw, dtype=torch.float64) for _ in range(3)
        )

    def cut(self, logp_N: Tensor, items: Sequence[int]) -> Tensor:
        found = [logp_N[self.ends[i] - SIZES[i] : self.ends[i]] for i in items]
        return torch.cat([logp_N[:0], *found])

    def rows(self, items: Sequence[int]) -> Rows:
        sizes = torch.tensor([SIZES[i] for i in items], dtype=torch.int64)
        columns: dict[str, list[float]] = {"reward_B": REWARDS, "group_B": GROUPS}
        return Rows(
            row_N=torch.arange(len(items)).repeat_interleave(sizes),
            count=len(items),
            columns={
                n: torch.tensor([v[i] for i in items], dtype=torch.float64)
                for n, v in columns.items()
            },
        )

    def view(self, cut: Sequence[Sequence[int]], gather: Callable[..., Any] | None = None) -> View:
        rows = [self.rows(items) for items in cut]
        outs = [
            {
                "old": Outputs(logp_N=self.cut(self.old, items)),
                "reference": Outputs(logp_N=self.cut(self.reference, items)),
            }
            for items in cut
        ]
        own = gather or (lambda t: (t, 0))
        return View(rows=rows, outs=outs, aside=rows, sum=lambda t: t, gather=own)

    def step(self, method: Grpo, cut: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return the loss of one step in these micro-batches, and its gradient."""
        now = self.now.clone().requires_grad_()
        view = self.view(cut)
        ready = [
            Rows(row_N=r.row_N, count=r.count, columns={**r.columns, **c})
            for r, c in zip(view.rows, method.constants(view), strict=True)
        ]
        weights = [method.weight(r) for r in ready]
        loss = torch.zeros((), dtype=torch.float64)
        for items, rows in zip(cut, ready, strict=True):
            terms = method.terms(Outputs(logp_N=self.cut(now, items)), rows)
            for part, total in terms.total.items():
                loss = loss + total / sum(w[part] for w in weights)
        (gradient,) = torch.autograd.grad(loss, now)
        return loss.detach(), gradient


def variant(name: Any, **more: Any) -> Grpo:
    return Grpo(variant=name, **{"iterations": 2, "beta": 0.1, "max_tokens": 6, **more})


CUTS = [[[0, 1, 2], [3, 4], [5, 6, 7]], [[7, 0, 5], [], [1, 6, 3, 4, 2]]]
"""Micro-batches across the groups, one of them empty."""


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("cut", CUTS)
def test_micro_batches_make_no_difference(name: str, cut: list[list[int]]) -> None:
    answers = Answers()
    whole, parts = (answers.step(variant(name), c) for c in ([list(range(8))], cut))
    assert torch.allclose(whole[0], parts[0], rtol=1e-12)
    assert torch.allclose(whole[1], parts[1], rtol=1e-12, atol=1e-14)
    assert whole[1].abs().max() > 1e-3


def heard(method: Grpo, answers: Answers, cut: list[list[int]]) -> list[Tensor]:
    """Return what a rank tells the others, which depends on nobody else."""
    told: list[Tensor] = []

    def gather(value: Tensor) -> tuple[Tensor, int]:
        told.append(value)
        return value, 0

    method.constants(answers.view(cut, gather))
    return told


def gathering(told: list[list[Tensor]], rank: int) -> Callable[[Tensor], tuple[Tensor, int]]:
    """Return the `gather` of a rank, one call after the other, of two ranks that tell this."""
    calls = zip(*told, strict=True)
    begin = len(told[0][0]) if rank else 0
    return lambda value: (torch.cat(next(calls)), begin)


@pytest.mark.parametrize("name", VARIANTS)
def test_each_rank_finds_its_share_of_what_one_would(name: str) -> None:
    answers, method = Answers(1), variant(name)
    shares = [[[0, 5], [2]], [[1], [], [7, 4, 3, 6]]]
    told = [heard(method, answers, cut) for cut in shares]
    alone = method.constants(answers.view([list(range(8))]))[0]["advantage_B"]
    for rank, cut in enumerate(shares):
        found = method.constants(answers.view(cut, gathering(told, rank)))
        for items, columns in zip(cut, found, strict=True):
            assert torch.allclose(columns["advantage_B"], alone[items], rtol=1e-12)


def constants(method: Grpo, seed: int = 0) -> dict[str, Tensor]:
    return method.constants(Answers(seed).view([list(range(8))]))[0]


@pytest.mark.parametrize("name", VARIANTS)
def test_an_answer_without_reward_has_no_gradient_and_counts_for_no_other(name: str) -> None:
    found = constants(variant(name))["advantage_B"]
    assert found[5] == 0
    assert found.isfinite().all()
    assert found.count_nonzero() >= 6


def test_by_hand_the_best_of_three_known_rewards() -> None:
    found = constants(Grpo(iterations=2))["advantage_B"]
    known = [0.5, -1.0, 3.0]  # of group 9, whose fourth has none
    mean = sum(known) / 3
    spread = math.sqrt(sum((r - mean) ** 2 for r in known) / 2)
    assert found[7] == pytest.approx((3.0 - mean) / (spread + 1e-4), rel=1e-12)


def test_where_the_reward_holds_the_kl_it_is_the_whole_answers() -> None:
    answers = Answers()
    plain = constants(variant("rloo", beta=0.0))["advantage_B"]
    found = constants(variant("rloo", beta=0.5))["advantage_B"]
    kl = answers.rows(range(8)).per_row(answers.old - answers.reference)
    mates = [1, 4, 6]  # of answer 0
    wanted = plain[0] - 0.5 * (kl[0] - kl[mates].mean())
    assert found[0] == pytest.approx(float(wanted), rel=1e-12)


def test_reinforce_plus_plus_is_its_papers_with_the_kl_of_the_whole_answer() -> None:
    """arXiv:2501.03262: A = r - beta KL, whitened over the batch; clipped as PPO's, by token."""
    answers, beta, epsilon = Answers(2), 0.1, 0.2
    spans = [range(end - size, end) for end, size in zip(answers.ends, SIZES, strict=True)]
    known = [i for i in range(8) if REWARDS[i] == REWARDS[i]]
    rewards = {
        i: REWARDS[i] - beta * sum(float(answers.old[t] - answers.reference[t]) for t in spans[i])
        for i in known
    }
    mean = sum(rewards.values()) / len(known)
    spread = math.sqrt(sum((r - mean) ** 2 for r in rewards.values()) / (len(known) - 1))
    total = 0.0
    for i in known:
        better = (rewards[i] - mean) / (spread + 1e-4)
        for t in spans[i]:
            ratio = math.exp(float(answers.now[t] - answers.old[t]))
            total -= min(ratio * better, min(max(ratio, 1 - epsilon), 1 + epsilon) * better)
    loss, _ = answers.step(variant("reinforce++", beta=beta), [list(range(8))])
    assert float(loss) == pytest.approx(total / sum(SIZES), rel=1e-12)


def test_rloo_is_the_likelihood_of_answers_weighed_by_how_much_better_they_are() -> None:
    """arXiv:2402.14740, eq. 8: 1/k sum_i (R_i - mean of the others') grad log p(y_i)."""
    answers = Answers(3)
    answers.now = answers.old.clone()
    _, gradient = answers.step(variant("rloo", beta=0.0), [list(range(8))])
    for i, end in enumerate(answers.ends):
        others = [j for j in range(8) if j != i and GROUPS[j] == GROUPS[i] and j != 5]
        mean = sum(REWARDS[j] for j in others) / len(others)
        wanted = 0.0 if i == 5 else -(REWARDS[i] - mean) / 8
        for t in range(end - SIZES[i], end):
            assert float(gradient[t]) == pytest.approx(wanted, rel=1e-12)


def test_one_step_a_rollout_asks_nobody_who_drew_and_clips_nothing() -> None:
    method = Grpo()
    assert method.passes == {}
    assert set(Grpo(beta=0.1).passes) == {"reference"}
    assert set(Grpo(steps=2).passes) == set(Grpo(iterations=2).passes) == {"old"}
    assert set(Grpo(variant="rloo", beta=0.1).passes) == {"old", "reference"}
    rows = Answers().rows(range(8))
    rows = Rows(row_N=rows.row_N, count=8, columns={"advantage_B": torch.randn(8).double()})
    told = method.terms(Outputs(logp_N=Answers().now), rows).metrics
    assert told["clip_ratio/region_mean"][0] == 0


def test_a_second_pass_over_the_same_answers_clips_what_has_moved() -> None:
    logp_N = torch.tensor([0.5, -0.5, 0.5, -0.5], requires_grad=True)
    advantage_B, old_N = torch.tensor([1.0, -1.0]), torch.zeros(4)
    rows = Rows(
        row_N=torch.tensor([0, 0, 1, 1]),
        count=2,
        columns={"advantage_B": advantage_B, "old_logp_N": old_N},
    )
    terms = Grpo(average="token").terms(Outputs(logp_N=logp_N), rows)
    terms.total["tokens"].backward()  # type: ignore[no-untyped-call]
    assert terms.metrics["clip_ratio/high_mean"] == (1, 4)
    assert terms.metrics["clip_ratio/low_mean"] == (1, 4)
    assert logp_N.grad is not None
    found = logp_N.grad.tolist()  # good and likelier, bad and unlikelier: gone far enough
    assert found == pytest.approx([0.0, -math.exp(-0.5), math.exp(0.5), 0.0])


@pytest.mark.parametrize("name", VARIANTS)
def test_no_answer_costs_nothing(name: str) -> None:
    empty = torch.zeros(0)
    columns = {"advantage_B": empty, "old_logp_N": empty, "reference_logp_N": empty}
    rows = Rows(row_N=empty.long(), count=0, columns=columns)
    terms = variant(name).terms(Outputs(logp_N=empty), rows)
    assert [float(total) for total in terms.total.values()] == [0.0]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variants_row_is_what_is_chosen_unless_one_says_otherwise(name: Any) -> None:
    row = {**VARIANTS[name]}
    row["epsilon_high"] = row["epsilon"] if row["epsilon_high"] is None else row["epsilon_high"]
    assert Grpo(variant=name).chosen == row
    other = {"advantage": "batch", "scale": "none", "ratio": "whole", "average": "length",
             "kl_in": "reward", "epsilon": 0.1, "epsilon_high": 0.7,
             "dynamic_sampling": True, "mask_truncated": True}  # fmt: skip
    assert {*other, "loss"} == row.keys()
    for key, value in other.items():
        changed = {**row, key: value}
        if key == "epsilon" and VARIANTS[name]["epsilon_high"] is None:
            changed["epsilon_high"] = value
        said: dict[str, Any] = {key: value}
        assert Grpo(variant=name, **said).chosen == changed


def test_epsilon_high_of_one_loss_is_not_that_of_the_other() -> None:
    assert Grpo(loss="cispo").chosen["epsilon_high"] == 5.0
    assert Grpo(variant="dapo", loss="cispo").chosen["epsilon_high"] == 5.0
    assert Grpo(variant="cispo", loss="clip").chosen["epsilon_high"] == 0.2
    assert Grpo(loss="cispo", epsilon_high=3.0).chosen["epsilon_high"] == 3.0


@pytest.mark.parametrize(
    ("key", "value"),
    [("epsilon", 1.5), ("group", 1), ("delta", 1.0), ("variant", "gpro"), ("temperature", 0)],
)
def test_a_bad_option_is_named_beside_others(key: str, value: object) -> None:
    with pytest.raises(RecipeError) as caught:
        read(None, [("model", "nano"), (f"method.{key}", value), ("method.steps", 0)], "grpo")
    places = [problem.where for problem in caught.value.problems]
    assert sorted(places) == sorted([f"--method.{key}", "--method.steps"])


def test_of_cispo_epsilon_is_not_bounded() -> None:
    assert Grpo(variant="cispo", epsilon=1.5).chosen["epsilon"] == 1.5


def test_heat_divides_the_logits_of_a_softcapped_head() -> None:
    logits = torch.linspace(-9, 9, 40, dtype=torch.float64).reshape(4, 10)
    post = Post(mul=1.7, softcap=2.5, columns=8)
    assert torch.allclose(post.heated(0.6)(logits), post(logits) / 0.6, rtol=1e-14)


def test_log_p_is_that_of_what_was_drawn_from() -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=1, head_dim=8,
        num_attention_heads=2, num_key_value_heads=1, final_logit_softcapping=0.7,
    )  # fmt: skip
    model: nn.Module = Gemma2ForCausalLM(config).double()
    ids_BT = torch.randint(0, 40, (2, 9))
    labels_BT = ids_BT.roll(-1, 1)
    method = Grpo(temperature=0.5)
    out = LogProbs(model, method.heat)({"input_ids": ids_BT}, labels_BT, method.needs)
    logits = model(input_ids=ids_BT).logits / 0.5
    wanted = logits.log_softmax(-1).gather(-1, labels_BT[..., None]).flatten()
    assert torch.allclose(out.logp_N, wanted, rtol=1e-6)
