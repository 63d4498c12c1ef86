"""Group relative policy optimisation (Shao et al., 2024, arXiv:2402.03300) and its kin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from swift.method import methods
from swift.method._advantages import advantages
from swift.method._referred import Compared
from swift.method._variants import VARIANTS

if TYPE_CHECKING:
    from torch import Tensor

    from swift.seam.types import Need, Outputs, Pass, Rows, Terms, View

Auto = Literal["auto"]


@methods.add("grpo")
class Grpo(Compared):
    """Make answers likelier that are better than others to the same question.

    L = -1/W * sum_t [min(q_t A, clip(q_t, 1 - epsilon, 1 + epsilon_high) A) - beta KL_t] (eq. 3),
    q_t = p(y_t) / p_old(y_t), A = (r - mean of the group) / (its spread + 1e-4), and
    KL_t = exp(d) - d - 1 with d = log r(y_t) - log p(y_t) of the reference r. How tokens are
    averaged (W) and the rest is `variant`'s to say, or one by one.
    Answers are drawn from the model as it is at the beginning of a rollout.
    """

    wants: ClassVar[str] = "prompts"
    scope: ClassVar[Literal["step", "rollout"]] = "rollout"

    variant: Literal["grpo", "dapo", "dr-grpo", "gspo", "rloo", "reinforce++", "cispo"] = "grpo"
    """The paper that decides what is left `auto`: the table in docs/grpo.md."""

    group: int = Field(default=8, ge=2)
    """Answers that are drawn to each question."""

    steps: int = Field(default=1, ge=1)
    """Optimiser steps that share the answers of a rollout: it draws batch_size * steps of them."""

    iterations: int = Field(default=1, ge=1)
    """How often each answer is trained on."""

    max_tokens: int = Field(default=256, ge=1)
    """Most tokens of an answer; over several turns, of all that is said and replied."""

    temperature: float = Field(default=1.0, gt=0, le=100)
    """Divides the logits, of drawing and of training alike."""

    top_p: float = Field(default=1.0, gt=0, le=1)
    """Smallest set of likely tokens with at least this share of probability; others are out."""

    top_k: int = Field(default=0, ge=0)
    """How many of the most likely tokens are left in. 0: all."""

    min_p: float = Field(default=0.0, ge=0, le=1)
    """Tokens below this share of the likeliest one's probability are out."""

    beta: float = Field(default=0.0, ge=0)
    """How strongly the policy is held to the reference. 0: there is none."""

    advantage: Auto | Literal["group", "leave-one-out", "batch"] = "auto"
    """What a reward is compared with: the mean of its group, of the others in it, or of all."""

    scale: Auto | Literal["group", "batch", "none"] = "auto"
    """What that is divided by: the spread of rewards in its group, of all, or nothing."""

    ratio: Auto | Literal["token", "sequence", "whole"] = "auto"
    """What is compared with the model that drew: the probability of each token, its geometric mean
    over the answer, or that of the whole answer."""

    average: Auto | Literal["sequence", "token", "length"] = "auto"
    """Of the tokens: the mean of an answer's mean; of all tokens of the step; or the sum of each
    answer over max_tokens, whatever its length."""

    loss: Auto | Literal["clip", "cispo"] = "auto"
    """clip: a ratio that has moved far has no gradient. cispo: -min(q, epsilon_high) A log p, with
    a clipped weight that has none."""

    epsilon: Auto | Annotated[float, Field(ge=0)] = "auto"
    """How far below 1 a ratio may move."""

    epsilon_high: Auto | Annotated[float, Field(ge=0)] = "auto"
    """How far above 1; of cispo the largest weight."""

    delta: Annotated[float, Field(gt=1)] | None = None
    """Largest ratio where the advantage is negative (arXiv:2505.07291); null: none."""

    kl_in: Auto | Literal["loss", "reward"] = "auto"
    """Where beta's KL is: a term of each token, or taken off the reward of the whole answer."""

    kl_unbiased: bool = False
    """Whether the KL of a token is weighed by its ratio, so that its gradient is that of the KL
    itself also where the policy is not the one that drew (DeepSeek-V3.2, arXiv:2512.02556)."""

    dynamic_sampling: Auto | bool = "auto"
    """Whether a question all of whose answers have the same reward gives way to another one."""

    max_draws: int = Field(default=3, ge=1)
    """How often a rollout draws for that; then it trains on what there is."""

    mask_truncated: Auto | bool = "auto"
    """Whether answers that were cut at max_tokens are left out of the loss."""

    turns: Annotated[str, Field(min_length=1)] | None = None
    """FILE.py:FUNCTION that replies to an answer, with results of tools or a further question:
    see docs/grpo.md. Its code is run. null: an answer ends the conversation."""

    max_turns: int = Field(default=4, ge=1)
    """Most answers of one conversation, where `turns` replies."""

    entropy: bool = False
    """Measure the entropy of each token's distribution too, which takes its time."""

    @field_validator("turns")
    @classmethod
    def _of_two(cls, turns: str | None) -> str | None:
        place, _, name = (turns or "file:name").rpartition(":")
        if not place or not name.isidentifier():
            raise ValueError("write FILE.py:FUNCTION")
        return turns

    @field_validator("epsilon")
    @classmethod
    def _low_below_one(cls, epsilon: Auto | float, info: ValidationInfo) -> Auto | float:
        """What is said of a field hides nothing that is wrong with others."""
        loss = info.data.get("loss", "auto")
        if loss == "auto":
            loss = VARIANTS[info.data.get("variant", "grpo")]["loss"]
        if epsilon != "auto" and epsilon > 1 and loss == "clip":
            raise ValueError("epsilon is at most 1: a ratio is not negative")
        return epsilon

    @property
    def chosen(self) -> Mapping[str, Any]:
        """The options that `variant` chooses, each as it is said, or else as the variant has it."""
        of_variant = VARIANTS[self.variant]
        said = {name: getattr(self, name) for name in of_variant}
        found = {n: of_variant[n] if v == "auto" else v for n, v in said.items()}
        if found["loss"] != of_variant["loss"] and self.epsilon_high == "auto":
            # it is a weight of the one, a distance of the other
            kin = "cispo" if found["loss"] == "cispo" else "grpo"
            found["epsilon_high"] = VARIANTS[kin]["epsilon_high"]
        if found["epsilon_high"] is None:
            found["epsilon_high"] = found["epsilon"]
        return found

    @property
    def alike(self) -> int:
        """Answers to one question."""
        return self.group

    @property
    def heat(self) -> float:
        """Log-probabilities are those of the distribution that was drawn from."""
        return self.temperature

    @property
    def steps_of_rollout(self) -> int:
        """Optimiser steps between two rollouts."""
        return self.steps * self.iterations

    @property
    def needs(self) -> frozenset[Need]:
        """The entropy where it is measured."""
        return frozenset({"logp", "entropy"} if self.entropy else {"logp"})

    @property
    def passes(self) -> Mapping[str, Pass]:
        """The model that drew, where it moves before its answers are done with; the reference."""
        from swift.seam.types import Pass

        moves = self.steps_of_rollout > 1 or (self.beta > 0 and self.chosen["kl_in"] == "reward")
        old = {"old": Pass(role="policy")} if moves else {}
        return old | ({"reference": Pass(role="reference")} if self.beta else {})

    def weight(self, rows: Rows) -> dict[str, float]:
        """Every token weighs one, or every answer."""
        if self.chosen["average"] == "token":
            return {"tokens": rows.tokens}
        return {"sequences": rows.count}

    def constants(self, view: View) -> list[dict[str, Tensor]]:
        """The passes' log-probabilities, and the advantage of each answer among all."""
        import torch

        kept = super().constants(view)
        rewards = [r.columns["reward_B"].cpu().double() for r in view.rows]
        if self.beta and self.chosen["kl_in"] == "reward":
            for i, (rows, outs) in enumerate(zip(view.rows, view.outs, strict=True)):
                moved_B = rows.per_row(outs["old"].logp_N - outs["reference"].logp_N)
                rewards[i] = rewards[i] - self.beta * moved_B.cpu().double()
        mine_A = torch.cat(rewards)
        all_A, begin = view.gather(mine_A)
        group_A, _ = view.gather(torch.cat([r.columns["group_B"] for r in view.rows]).to(mine_A))
        how = self.chosen["advantage"], self.chosen["scale"]
        found_A = advantages(all_A, group_A, *how)[begin : begin + len(mine_A)]
        cut = torch.split(found_A, [r.count for r in view.rows])
        return [{**k, "advantage_B": a} for k, a in zip(kept, cut, strict=True)]

    def terms(self, out: Outputs, rows: Rows) -> Terms:
        """Sum over the tokens of B answers."""
        from swift.seam.types import Terms

        logp_N, row_N = out.logp_N, rows.row_N.to(out.logp_N.device)
        old_N = rows.columns.get("old_logp_N", logp_N.detach())
        q_N = self._level(logp_N - old_N, rows).exp()
        loss_N, told = self._policy(q_N, rows.columns["advantage_B"][row_N], logp_N)
        if self.beta:
            d_N = rows.columns["reference_logp_N"] - logp_N
            kl_N = (d_N.exp() - d_N - 1) * (q_N if self.kl_unbiased else 1)
            told["kl"] = kl_N.detach()
            if self.chosen["kl_in"] == "loss":
                loss_N = loss_N + self.beta * kl_N
        if out.entropy_N is not None:
            told["entropy"] = out.entropy_N.detach()
        metrics = {name: (value_N.sum(), rows.tokens) for name, value_N in told.items()}
        return Terms(total=self._total(loss_N, rows), metrics=metrics)

    def _total(self, loss_N: Tensor, rows: Rows) -> dict[str, Tensor]:
        """Return the sum of what tokens lose, as `average` has it."""
        average = self.chosen["average"]
        if average == "token":
            return {"tokens": loss_N.sum()}
        if average == "length":
            return {"sequences": loss_N.sum() / self.max_tokens}
        return {"sequences": (rows.per_row(loss_N) / _lengths(loss_N, rows)).sum()}

    def _level(self, moved_N: Tensor, rows: Rows) -> Tensor:
        """Return by how much log p has moved: of each token, or of the answer that it is in."""
        ratio = self.chosen["ratio"]
        if ratio == "token":
            return moved_N
        moved_B = rows.per_row(moved_N)
        if ratio == "sequence":
            moved_B = moved_B / _lengths(moved_N, rows)
        return moved_B[rows.row_N.to(moved_N.device)]

    def _policy(self, q_N: Tensor, a_N: Tensor, logp_N: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what each token loses, and what is told of it, under the field's names."""
        import torch

        high = self.chosen["epsilon_high"]
        if self.chosen["loss"] == "cispo":
            far_N = (q_N > high) & (a_N > 0)
            told = {"cispo_clip_ratio": far_N.to(q_N)}
            return -q_N.clamp(max=high).detach() * a_N * logp_N, told
        low = 1 - self.chosen["epsilon"]
        clipped_N = q_N.clamp(low, 1 + high)
        free_N = q_N if self.delta is None else q_N.clamp(max=self.delta)
        below_N = ((q_N < low) & (a_N < 0)).to(q_N)
        above_N = ((q_N > 1 + high) & (a_N > 0)).to(q_N)
        told = {
            "clip_ratio/low_mean": below_N,
            "clip_ratio/high_mean": above_N,
            "clip_ratio/region_mean": below_N + above_N,
        }
        return -torch.min(free_N * a_N, clipped_N * a_N), told


def _lengths(like_N: Tensor, rows: Rows) -> Tensor:
    """Return [B]: the tokens of each answer, at least 1."""
    return rows.per_row(like_N.detach().new_ones(rows.tokens)).clamp(min=1)
