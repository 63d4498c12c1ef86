"""Samples that share a row do not see each other, and nothing that is learnt depends on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from swift.cli.main import main
from swift.dataset.encoded import Encoded
from swift.method import Method
from swift.method.dpo import Dpo
from swift.method.sft import Sft
from swift.model.facts import read_facts
from swift.optimizer.adamw import AdamW
from swift.parallel import Placement, Site, strategies
from swift.run.loop import one_step
from swift.run.packing import end_to_end
from swift.run.source import ModelSource
from swift.seam.collate import Lay, collate
from swift.seam.logprobs import LogProbs
from swift.seam.segments import SEGMENTED
from swift.tuner.full import Full
from swift.tuner.lora import Lora
from tests.kit import bare_job, chat_rows, exact_norms, on_ranks, tiny_chat_model, tiny_model, worst

WINDOWED = {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}
KINDS: dict[str, dict[str, Any]] = {
    "qwen2": {},
    "llama": {},
    "gpt_neox": {},
    "gemma2": {"head_dim": 8, **WINDOWED},
    "gpt_oss": {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, **WINDOWED},
    "qwen3_moe": {
        "head_dim": 8,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
    },
}

OWN = {"gemma2": "eager", "gpt_oss": "eager"}
"""What attends in their padded rows; sdpa in others'."""

SINGLE = ("gpt_oss", "qwen3_moe")
"""Their experts compute in float32 at most."""


def sequences(count: int, sides: int = 1, seed: int = 0) -> Encoded:
    """Return `count` items of uneven random sequences; their second halves are supervised."""
    draw = np.random.default_rng(seed)
    sizes = draw.integers(4, 24, count * sides)
    marks = [np.arange(size) >= size // 2 for size in sizes]
    return Encoded(
        ids=draw.integers(0, 128, sizes.sum()).astype(np.int32),
        supervised=np.concatenate(marks),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        sides=sides,
        origins=[""] * count,
    )


def model_of(kind: str, **more: Any) -> Any:
    """Return a random two-layer model, in float64 where it can compute in that."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 128}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = AutoConfig.for_model(kind, **sizes, **heads, **KINDS.get(kind, {}), **more)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=OWN.get(kind, "sdpa"))
    return (model if kind in SINGLE else model.double()).eval()


def answers(model: Any, rows: Encoded, *, flat: bool) -> Tensor:
    """Return the log-probabilities of a batch of all rows."""
    batch = collate(rows, range(len(rows)), Lay(pad_id=0, end_to_end=flat))
    own = OWN.get(model.config.model_type, "sdpa")
    model.set_attn_implementation(SEGMENTED if flat else own)
    logp_N: Tensor = LogProbs(model)(batch.inputs, batch.labels_BT, frozenset({"logp"})).logp_N
    return logp_N


@pytest.mark.parametrize("kind", KINDS)
def test_answers_and_gradients_are_those_of_padded_rows(kind: str) -> None:
    exact_norms()
    rows, model = sequences(5), model_of(kind)
    found = []
    for flat in (False, True):
        model.zero_grad()
        logp_N = answers(model, rows, flat=flat)
        torch.autograd.backward(logp_N.sum())
        grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        found.append((logp_N.detach(), grads))
    (padded, wanted), (packed, got) = found
    largest = max(float(grad.abs().max()) for grad in wanted.values())
    # Norms and softmax of some families compute in float32 whatever the model's type.
    bound = 1e-10 if kind in ("qwen2", "gpt_neox") else 1e-5
    assert float((padded - packed).abs().max()) < bound
    assert worst(got, wanted) < bound * largest
    assert largest > 1


@pytest.mark.parametrize("kind", KINDS)
def test_another_first_sample_leaves_the_second_to_the_bit(kind: str) -> None:
    rows, model = sequences(2), model_of(kind).float()
    other = Encoded(
        ids=rows.ids.copy(),
        supervised=rows.supervised,
        offsets=rows.offsets,
        sides=1,
        origins=["", ""],
    )
    first = slice(0, int(rows.offsets[1]))
    other.ids[first] = (rows.ids[first] + 1) % 128
    own = int(rows.supervised[first][1:].sum())
    a, b = answers(model, rows, flat=True), answers(model, other, flat=True)
    assert not torch.equal(a[:own], b[:own])
    assert torch.equal(a[own:], b[own:])


def placed(folder: Path, tuner: str = "lora", strategy: str = "none", **site: Any) -> Placement:
    source = ModelSource(
        read_facts("tiny", folder),
        {"lora": Lora(rank=4), "full": Full()}[tuner],
        dtype=site.pop("dtype", "float64"),
        seed=7,
    )
    return strategies.get(strategy)().place(
        source, "policy", AdamW(), 3e-3, Site(dtype="float64", **site)
    )


def traced(strategy: str, world: int, folder: str, method: str, tuner: str, flat: bool) -> Any:
    """Return losses and weights of three steps, four micro-batches each."""
    exact_norms()
    rank = torch.distributed.get_rank() if world > 1 else 0
    policy = placed(Path(folder), tuner, strategy, rank=rank, world=world)
    loss: Method = Dpo(beta=0.5) if method == "dpo" else Sft()
    job, losses = bare_job(policy, loss), []
    if flat:
        rows = sequences(4, seed=99)
        laid = end_to_end([policy], rows, 0, lambda *a, **k: None)
        assert laid.__enter__()
    for step in range(3):
        rows = sequences(12, len(loss.sides), seed=step)
        whole = [
            collate(rows, range(i, i + 3), Lay(pad_id=0, end_to_end=flat)) for i in range(0, 12, 3)
        ]
        sums, _, _ = one_step(job, whole[policy.data_rank :: policy.data_world], 1.0)
        losses.append(sums.loss)
    return losses, {n: w.clone() for n, w in policy.weights(trained_only=False)}


CASES = [("sft", "lora"), ("sft", "full"), ("dpo", "lora")]


def all_traces(strategy: str, world: int, folder: str) -> Any:
    return [traced(strategy, world, folder, method, tuner, True) for method, tuner in CASES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["none", "ddp", "fsdp", "tp"])
def test_steps_end_to_end_are_padded_steps_in_every_placement(strategy: str, folder: str) -> None:
    if strategy == "none":
        found = all_traces("none", 1, folder)
    else:
        found = on_ranks(all_traces, 2, strategy, 2, folder)[0]
    for (method, tuner), (losses, weights) in zip(CASES, found, strict=True):
        wanted, expected = traced("none", 1, folder, method, tuner, False)
        assert losses == pytest.approx(wanted, rel=1e-10), (method, tuner)
        assert worst(weights, expected) < 1e-8, (method, tuner)


def asked(kind: str, folder: Path, **config: Any) -> tuple[bool, list[str]]:
    """Return whether a model may read such rows, and what was said of it."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 128}
    torch.manual_seed(0)
    said: list[str] = []
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes, **config)).save_pretrained(
        folder
    )
    policy = placed(folder, "full", dtype="float32")
    before = policy.model().config._attn_implementation  # type: ignore[union-attr]
    with end_to_end([policy], sequences(4), 0, lambda kind, text: said.append(text)) as flat:
        pass
    assert policy.model().config._attn_implementation == before  # type: ignore[union-attr]
    return flat, said


@pytest.mark.filterwarnings("default")  # transformers', about kernels that are not there
@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("mamba", {"state_size": 8}),
        ("lfm2", {"layer_types": ["conv", "full_attention"], "num_attention_heads": 4}),
        ("rwkv", {"attention_hidden_size": 32}),
    ],
)
def test_a_model_that_carries_a_state_over_is_found_out(
    kind: str, config: dict[str, Any], tmp_path: Path
) -> None:
    flat, said = asked(kind, tmp_path / kind, **config)
    assert not flat
    assert said[0].startswith("padded rows, since the model mixes sequences")


def test_a_model_of_attention_alone_may(tmp_path: Path) -> None:
    flat, said = asked("llama", tmp_path / "llama", num_attention_heads=4)
    assert flat
    assert not said


# --- whole runs ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("street")
    tiny_chat_model(folder / "chat")
    chat_rows(folder / "rows.jsonl", 60)
    return folder


def trained(street: Path, name: str, *words: str) -> list[dict[str, Any]]:
    run = ["sft", "--model", str(street / "chat"), "--dataset", str(street / "rows.jsonl")]
    run += ["--output_dir", str(street / name), "--lr", "0.01", "--epochs", "1", *words]
    assert main(run) == 0
    events = (street / name / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in events]


def losses(events: list[dict[str, Any]]) -> list[float]:
    return [event["loss"] for event in events if event["event"] == "step"]


def test_a_run_without_padding_is_the_padded_run(street: Path) -> None:
    padded = losses(trained(street, "padded", "--batch_size", "8"))
    free = losses(trained(street, "free", "--batch_size", "8", "--padding_free", "true"))
    assert len(free) == 8
    assert free == pytest.approx(padded, abs=2e-5)


def test_a_packed_run_reads_every_sample_once(street: Path) -> None:
    words = ("--packing", "true", "--max_length", "128", "--batch_size", "2")
    steps = [e for e in trained(street, "packed", *words) if e["event"] == "step"]
    (data,) = [e for e in trained(street, "again", *words) if e["event"] == "data"]
    assert sum(step["samples"] for step in steps) == 60
    assert sum(step["tokens"] for step in steps) == data["tokens"]
    assert len(steps) < 60 / 2
