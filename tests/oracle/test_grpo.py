"""GRPO and its kin beside TRL's trainers: from answers and rewards to the gradient of one step.

Both sides get the same answers of the same float64 model: TRL's trainer is a real one whose
`_generate` and `_calculate_rewards` return them. It asks the old policy and the reference, weighs
the rewards and computes its loss; on our side the answers go through rows, batches, passes,
constants and terms, in micro-batches cut at other places.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from swift.method.grpo import Grpo
from swift.run.loop import with_constants
from swift.run.rollout.drawn import Drawn, rows_of
from swift.seam.collate import Lay, collate
from swift.seam.logprobs import LogProbs
from swift.seam.types import Batch, Need, Outputs
from tests.kit import tiny_chat_model

trl = pytest.importorskip("trl")

PAD, END, GROUP, ANSWERS, MOST = 0, 2, 3, 6, 9
SIZES = (5, 9, 1, 4, 9, 3)
"""Tokens of the answers; those of MOST were cut."""

REWARDS = (1.0, 0.25, -0.5, 0.0, 2.0, 0.75)
NONE = float("nan")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*use_cpu.*"),
]


class Models:
    """The policy in three states: as the reference is, as it was when it drew, and as it is."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.folder = tiny_chat_model(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.policy: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
        self.reference = copy.deepcopy(self.policy)
        draw = torch.Generator().manual_seed(5)
        self.states = []
        for _ in range(2):
            with torch.no_grad():
                for p in self.policy.parameters():
                    p += 0.03 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
            self.states.append(copy.deepcopy(self.policy.state_dict()))

    def become(self, state: int) -> None:
        self.policy.load_state_dict(self.states[state])
        self.policy.train()

    def gradients(self) -> dict[str, Tensor]:
        found = {n: p.grad.clone() for n, p in self.policy.named_parameters()}
        self.policy.zero_grad()
        return found


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Models:
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    def forward(self: Any, x: Tensor) -> Tensor:  # in float64, which transformers' is not
        root = (x.square().mean(-1, keepdim=True) + self.variance_epsilon).rsqrt()
        scaled: Tensor = self.weight * x * root
        return scaled

    monkeypatch.setattr(LlamaRMSNorm, "forward", forward)
    monkeypatch.setattr("trl.trainer.utils._ChunkedLogProbFunction", Wide)
    return Models(tmp_path / "model")


class Wide:
    """What TRL's head computes in float32 at best, in the model's own numbers."""

    @staticmethod
    def apply(
        hidden_NH: Tensor, weight_VH: Tensor, bias: None, labels_N: Tensor, heat: float, *rest: Any
    ) -> tuple[Tensor | None, ...]:
        logp_NV = (hidden_NH @ weight_VH.T / heat).log_softmax(-1)
        entropy_N = -(logp_NV.exp() * logp_NV).sum(-1)
        return logp_NV.gather(1, labels_N[:, None])[:, 0], entropy_N, None, None, None


def answers(
    rewards: Sequence[float] = REWARDS, *, replies: bool = False, uneven: bool = False
) -> list[Drawn]:
    draw = torch.Generator().manual_seed(1)
    prompts = [torch.randint(3, 260, (4 + uneven * 3 * g,), generator=draw) for g in range(2)]
    found = []
    for i, (size, reward) in enumerate(zip(SIZES, rewards, strict=True)):
        ids = torch.randint(3, 260, (size,), generator=draw)
        if size < MOST:
            ids[-1] = END
        found.append(
            Drawn(
                group=i // GROUP,
                origin=f"row {i}",
                prompt=prompts[i // GROUP].tolist(),
                ids=ids.tolist(),
                own=[not (replies and 1 <= t < 4 and size > 4) for t in range(size)],
                logprobs=(),
                text="",
                finish="stop" if size < MOST else "length",
                reward=None if reward != reward else reward,
            )
        )
    return found


class Placed:
    """What `with_constants` asks of a placement."""

    def __init__(self, model: Any, heat: float) -> None:
        self.ask = LogProbs(model, heat)

    @torch.no_grad()
    def no_grad(self, batches: Sequence[Batch], role: str, needs: frozenset[Need]) -> list[Outputs]:
        return [self.ask(b.inputs, b.labels_BT, needs) for b in batches]

    def reduce(self, value: Tensor) -> Tensor:
        return value

    def gather(self, value: Tensor) -> tuple[Tensor, int]:
        return value, 0


Found = tuple[float, dict[str, Tensor], dict[str, float]]
"""Loss, gradient by parameter, metrics."""


def ours(models: Models, method: Grpo, drawn: Sequence[Drawn]) -> Found:
    rows = rows_of(drawn, mask_truncated=method.chosen["mask_truncated"])
    cut: list[Sequence[int]] = [range(4), range(4, ANSWERS)]
    batches = [collate(rows, items, Lay(pad_id=PAD)) for items in cut]
    policy, reference = (Placed(m, method.heat) for m in (models.policy, models.reference))
    models.become(0)
    ready = with_constants(method, policy, {"reference": reference}, batches)  # type: ignore[arg-type,dict-item]
    models.become(1)
    weights = [method.weight(r) for r in ready]
    whole = {part: sum(w[part] for w in weights) for part in weights[0]}
    value, told = 0.0, dict[str, tuple[float, float]]()
    for batch, row in zip(batches, ready, strict=True):
        out = policy.ask(batch.inputs, batch.labels_BT, method.needs)
        terms = method.terms(out, row.beside(out.logp_N))
        loss = torch.stack([t / whole[part] for part, t in terms.total.items()]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        value += float(loss.detach())
        for name, (total, count) in terms.metrics.items():
            before = told.get(name, (0.0, 0.0))
            told[name] = before[0] + float(total), before[1] + float(count)
    return value, models.gradients(), {n: t / c for n, (t, c) in told.items()}


_GIVEN: Mapping[str, Any] = {"max_completion_length": MOST, "beta": 0.0}


def theirs(
    models: Models, drawn: Sequence[Drawn], *, rloo: bool = False, micros: int = 2, **options: Any
) -> Found:
    from datasets import Dataset
    from trl.trainer.utils import split_tensor_dict

    config, cls = (trl.RLOOConfig, trl.RLOOTrainer) if rloo else (trl.GRPOConfig, trl.GRPOTrainer)
    args = config(
        output_dir=str(models.folder / "out"),
        use_cpu=True,
        bf16=False,
        report_to=[],
        per_device_train_batch_size=ANSWERS // micros,
        gradient_accumulation_steps=micros,
        num_generations=GROUP,
        num_iterations=2,
        **({} if rloo else {"use_bias_correction_kl": False}) | dict(_GIVEN) | options,
    )
    models.become(0)
    trainer = cls(
        model=copy.deepcopy(models.policy),
        processing_class=models.tokenizer,
        reward_funcs=[lambda **columns: []],
        train_dataset=Dataset.from_dict({"prompt": ["?"] * ANSWERS}),
        args=args,
    )
    _answering(trainer, drawn, rloo)
    model = trainer.model.train()
    scored = trainer._generate_and_score_completions([{"prompt": "?"}] * ANSWERS)
    model.load_state_dict(models.states[1])
    trainer.current_gradient_accumulation_steps = micros
    value = 0.0
    for inputs in split_tensor_dict(scored, micros):
        loss = trainer._compute_loss(model, inputs)
        loss = loss / micros if rloo else loss
        loss.backward()
        value += float(loss.detach())
    told = {n: v[-1] for n, v in trainer._metrics["train"].items()}
    return value, {n: p.grad for n, p in model.named_parameters()}, told


def _answering(trainer: Any, drawn: Sequence[Drawn], rloo: bool) -> None:
    """Let a trainer draw these answers, with these rewards."""
    ids = [list(d.ids) for d in drawn]
    texts = ["" for _ in drawn]
    masks = None if all(all(d.own) for d in drawn) else [list(map(int, d.own)) for d in drawn]
    rewards = [[NONE if d.reward is None else d.reward] for d in drawn]
    prompts = [list(d.prompt) for d in drawn]
    more: Any = (masks, texts, None, {}, None, [])
    trainer._generate = lambda *a: (prompts, ids, texts) if rloo else (prompts, ids, *more)
    trainer._calculate_rewards = lambda *a: torch.tensor(rewards, dtype=torch.float64)
    trainer.reward_weights = trainer.reward_weights.double()


def equal(found: Found, wanted: Found, within: float = 1e-10) -> None:
    largest = max(float(g.abs().max()) for g in wanted[1].values())
    assert largest > 1e-3
    assert found[0] == pytest.approx(wanted[0], abs=within)
    assert found[1].keys() == wanted[1].keys()
    for name, gradient in found[1].items():
        assert float((gradient - wanted[1][name]).abs().max()) <= within * largest, name


TWO: Mapping[str, Any] = {"iterations": 2, "max_tokens": MOST, "group": GROUP}
"""Answers are trained on twice, so that the policy is not the one that drew."""

CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"loss_type": "grpo"}),
    ({"variant": "dapo"}, {"loss_type": "dapo", "epsilon_high": 0.28,
                           "mask_truncated_completions": True}),
    ({"variant": "dr-grpo"}, {"loss_type": "dr_grpo", "scale_rewards": "none"}),
    ({"variant": "gspo"}, {"loss_type": "grpo", "importance_sampling_level": "sequence",
                           "epsilon": 3e-4, "epsilon_high": 4e-4}),
    ({"variant": "cispo", "epsilon_high": 1.05}, {"loss_type": "cispo", "epsilon_high": 1.05}),
    ({"average": "token"}, {"loss_type": "bnpo", "micros": 1}),
]  # fmt: skip


@pytest.mark.parametrize("replies", [False, True], ids=["", "with replies"])
@pytest.mark.parametrize(("said", "options"), CASES, ids=[str(c[1]["loss_type"]) for c in CASES])
def test_each_loss_is_trls(
    models: Models, said: dict[str, Any], options: dict[str, Any], replies: bool
) -> None:
    drawn = answers(replies=replies)
    equal(ours(models, Grpo(**TWO, **said), drawn), theirs(models, drawn, **options))


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ({"beta": 0.3}, {"beta": 0.3}),
        ({"epsilon": 0.05, "epsilon_high": 0.3}, {"epsilon": 0.05, "epsilon_high": 0.3}),
        ({"epsilon": 0.05, "delta": 1.1}, {"epsilon": 0.05, "delta": 1.1}),
        ({"beta": 0.3, "kl_unbiased": True}, {"beta": 0.3, "use_bias_correction_kl": True}),
        ({"mask_truncated": True}, {"mask_truncated_completions": True}),
        ({"temperature": 0.7, "beta": 0.1}, {"temperature": 0.7, "beta": 0.1}),
        ({"ratio": "sequence", "beta": 0.1, "average": "length"},
         {"importance_sampling_level": "sequence", "beta": 0.1, "loss_type": "dr_grpo"}),
    ],
    ids=lambda said: " ".join(said),
)  # fmt: skip
def test_each_option_is_trls(models: Models, said: dict[str, Any], options: dict[str, Any]) -> None:
    drawn = answers(replies=True)
    wanted = theirs(models, drawn, **{"loss_type": "grpo", **options})
    equal(ours(models, Grpo(**TWO, **said), drawn), wanted)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_an_answer_that_no_reward_applies_to_is_left_out_as_trl_does(
    models: Models, scale: Any
) -> None:
    drawn = answers((1.0, NONE, -0.5, NONE, 2.0, NONE))
    if scale == "group":  # of one known reward TRL's spread is no number, and so its loss
        drawn = answers((1.0, NONE, -0.5, 0.0, 2.0, NONE))
    wanted = theirs(models, drawn, loss_type="grpo", scale_rewards=scale)
    equal(ours(models, Grpo(**TWO, scale=scale), drawn), wanted)


@pytest.mark.parametrize("rewards", [REWARDS, (1.0, NONE, -0.5, NONE, 2.0, NONE)])
@pytest.mark.parametrize("beta", [0.0, 0.2])
def test_rloo_is_trls(models: Models, beta: float, rewards: Sequence[float]) -> None:
    drawn = answers(rewards)
    method = Grpo(**TWO, variant="rloo", beta=beta)
    equal(ours(models, method, drawn), theirs(models, drawn, rloo=True, beta=beta))


def test_prompts_of_uneven_length_change_nothing(models: Models) -> None:
    drawn = answers(uneven=True)  # which TRL pads: its places of tokens are others, in float32
    wanted = theirs(models, drawn, loss_type="grpo", beta=0.1)
    equal(ours(models, Grpo(**TWO, beta=0.1), drawn), wanted, within=1e-5)


def test_in_float32_and_with_trls_own_head_the_difference_is_rounding(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl.kernels import ChunkedLogProbFunction

    monkeypatch.setattr("trl.trainer.utils._ChunkedLogProbFunction", ChunkedLogProbFunction)
    for model in (models.policy, models.reference):
        model.float()
    models.states = [{n: p.float() for n, p in s.items()} for s in models.states]
    drawn, options = answers(), dict[str, Any](temperature=0.7, beta=0.1)
    wanted = theirs(models, drawn, loss_type="dapo", **options)
    method = Grpo(**TWO, **options, average="token")
    equal(ours(models, method, drawn), wanted, within=1e-5)


def test_metrics_are_trls_by_name_and_value(models: Models) -> None:
    drawn = answers(replies=True)
    wanted = theirs(models, drawn, loss_type="bnpo", beta=0.1, epsilon=0.05, micros=1)[2]
    found = ours(models, Grpo(**TWO, beta=0.1, epsilon=0.05, entropy=True), drawn)[2]
    assert {"kl", "entropy", "clip_ratio/region_mean"} <= found.keys()
    assert found == pytest.approx({n: wanted[n] for n in found}, abs=1e-6)
    assert found["clip_ratio/low_mean"] > 0 < found["clip_ratio/high_mean"]
