"""LogProbs equals the log-softmax of the model's own full logits, in value and gradient."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel
from transformers import AutoConfig, AutoModelForCausalLM

from swift.core.errors import PlanError
from swift.seam._heads import generic_logp
from swift.seam.head import Post, head_logp
from swift.seam.logprobs import LogProbs, probe
from swift.seam.types import IGNORE, Need, Outputs

V, B, T = 61, 3, 11
ALL: frozenset[Need] = frozenset({"logp", "entropy", "mean_logp"})
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "final_logit_softcapping": 0.7, "query_pre_attn_scalar": 8},
    "cohere": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 3.0},
}
POSTS = {"gemma2": Post(softcap=0.7), "cohere": Post(mul=0.25), "granite": Post(mul=1 / 3)}


def build(family: str = "qwen3", *, tied: bool = False, seed: int = 0, **extra: Any) -> nn.Module:
    """Return a tiny random float64 model with two layers."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        family,
        vocab_size=V,
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=tied,
        **FAMILIES[family] | extra,
    )
    model: nn.Module = AutoModelForCausalLM.from_config(config).double()
    for p in model.parameters():  # large enough for a soft cap to matter
        if p.dim() > 1:
            p.data.mul_(4)
    return model


def with_lora(model: nn.Module, **options: Any) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    options = {"target_modules": ["q_proj", "down_proj"], "r": 4} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft: nn.Module = get_peft_model(
            model, LoraConfig(task_type="CAUSAL_LM", **options), autocast_adapter_dtype=False
        )
    for name, p in peft.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(p, std=0.3)
    return peft


def data(seed: int = 1) -> tuple[dict[str, Tensor], Tensor]:
    torch.manual_seed(seed)
    ids_BT = torch.randint(3, V, (B, T))
    labels_BT = ids_BT.roll(-1, 1)
    labels_BT[:, -1] = IGNORE
    labels_BT[0, :6] = IGNORE
    labels_BT[2] = IGNORE
    return {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT)}, labels_BT


def plain(model: nn.Module, inputs: dict[str, Tensor], labels_BT: Tensor) -> Outputs:
    logits = model(**inputs, use_cache=False).logits[:, -labels_BT.shape[1] :]
    logp_NV = logits[labels_BT != IGNORE].log_softmax(-1)
    labels_N = labels_BT[labels_BT != IGNORE]
    return Outputs(
        logp_N=logp_NV.gather(1, labels_N[:, None])[:, 0],
        entropy_N=-(logp_NV.exp() * logp_NV).sum(-1),
        mean_logp_N=logp_NV.mean(-1),
    )


def loss_of(out: Outputs) -> Tensor:
    factor_N = torch.linspace(-1, 2, len(out.logp_N), dtype=out.logp_N.dtype)
    loss = (out.logp_N.sigmoid() * factor_N).sum() + out.logp_N.square().sum() * 0.01
    loss = loss if out.entropy_N is None else loss + 0.3 * out.entropy_N.square().sum()
    return loss if out.mean_logp_N is None else loss + 0.01 * out.mean_logp_N.square().sum()


def grads(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    wanted = {n: p for n, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, list(wanted.values()))
    return dict(zip(wanted, found, strict=True))


def far(got: Tensor, want: Tensor, scale: Tensor | None = None) -> float:
    size = want.abs().max() if scale is None else scale
    return float(((got - want).abs().max() / size).detach())


def assert_equal_to_plain(model: nn.Module, limit: float = 1e-12) -> None:
    """Compare the first call (which probes) and the second one with the full logits."""
    inputs, labels_BT = data()
    truth = plain(model, inputs, labels_BT)
    want = grads(model, loss_of(truth))
    largest = torch.stack([g.abs().max() for g in want.values()]).max()
    module = LogProbs(model)
    for _ in range(2):
        out = module(inputs, labels_BT, ALL)
        assert out.logp_N.shape == (14,)
        assert far(out.logp_N, truth.logp_N) < limit
        assert truth.entropy_N is not None
        assert truth.mean_logp_N is not None
        assert far(out.entropy_N, truth.entropy_N) < limit
        assert far(out.mean_logp_N, truth.mean_logp_N) < limit
        got = grads(model, loss_of(out))
        assert max(far(got[n], want[n], largest) for n in want) < limit
    assert "forward" not in model.get_output_embeddings().__dict__  # type: ignore[operator]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_equals_its_full_logits(family: str, tied: bool) -> None:
    assert_equal_to_plain(build(family, tied=tied))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_with_lora_equals_its_full_logits(family: str, tied: bool) -> None:
    assert_equal_to_plain(with_lora(build(family, tied=tied)))


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj", "lm_head"], "use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"trainable_token_indices": [4, 5]},
    ],
)
def test_a_head_that_is_no_plain_matrix_equals_its_full_logits(options: dict[str, Any]) -> None:
    assert_equal_to_plain(with_lora(build("llama"), **options))


@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "PREFIX_TUNING"])
def test_virtual_tokens_stand_before_the_labels(kind: str) -> None:
    from peft import get_peft_config, get_peft_model

    config = get_peft_config({"peft_type": kind, "task_type": "CAUSAL_LM", "num_virtual_tokens": 4})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_equal_to_plain(get_peft_model(build("llama"), config, autocast_adapter_dtype=False))


def test_gradient_checkpointing_changes_nothing() -> None:
    model = build("qwen3").train()
    inputs, labels_BT = data()
    want = grads(model, loss_of(LogProbs(model)(inputs, labels_BT, ALL)))
    model.activation_checkpointing_enable()  # type: ignore[operator]
    module = LogProbs(model)
    for _ in range(2):
        got = grads(model, loss_of(module(inputs, labels_BT, ALL)))
        assert all(torch.equal(got[n], want[n]) for n in want)


def test_autocast_gives_float32_near_the_truth() -> None:
    model = build("llama").float()
    inputs, labels_BT = data()
    truth = plain(model, inputs, labels_BT)
    module = LogProbs(model)
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            out = module(inputs, labels_BT, ALL)
        assert out.logp_N.dtype == torch.float32
        assert far(out.logp_N, truth.logp_N) < 0.03
        assert all(g.isfinite().all() for g in grads(model, loss_of(out)).values())


def test_no_supervised_token_gives_zero_gradients_and_keeps_the_graph() -> None:
    model = build("llama")
    inputs, labels_BT = data()
    module = LogProbs(model)
    for _ in range(2):
        out = module(inputs, torch.full_like(labels_BT, IGNORE), ALL)
        assert out.logp_N.shape == (0,)
        assert not any(g.any() for g in grads(model, loss_of(out)).values())


def test_entropy_comes_only_when_needed() -> None:
    module = LogProbs(build("llama"))
    for _ in range(2):
        assert module(*data(), frozenset({"logp"})).entropy_N is None


def test_only_supervised_positions_reach_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    from swift.seam import _heads

    seen: list[torch.Size] = []

    def spy(h_NH: Tensor, *args: Any, **options: Any) -> Any:
        seen.append(h_NH.shape)
        return head_logp(h_NH, *args, **options)

    monkeypatch.setattr(_heads, "head_logp", spy)
    LogProbs(build("llama"))(*data(), ALL)
    assert seen == [(14, 24)]


def test_a_failing_forward_leaves_the_head_as_it_was() -> None:
    model = build("llama")
    module, head = LogProbs(model), model.get_output_embeddings()  # type: ignore[operator]
    inputs, labels_BT = data()
    for broken in (True, False, True):
        if broken:
            with pytest.raises(RuntimeError):
                module({"input_ids": inputs["input_ids"].float()}, labels_BT, ALL)
        else:
            module(inputs, labels_BT, ALL)
        assert "forward" not in head.__dict__
        assert not head._forward_hooks
    assert model(**inputs).logits.shape == (B, T, V)


def test_an_engines_own_patch_of_the_head_comes_back() -> None:
    model = build("llama")
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    patch = head.forward
    head.forward = patch
    LogProbs(model)(*data(), ALL)
    assert head.__dict__["forward"] is patch


def test_hooks_of_the_head_fire() -> None:
    model = build("llama")
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    fired: list[str] = []
    head.register_forward_pre_hook(lambda m, a: fired.append("before"))
    head.register_forward_hook(lambda m, a, out: fired.append(f"after {len(out)}"))
    module = LogProbs(model)
    module(*data(), ALL)
    fired.clear()
    module(*data(), ALL)
    assert fired == ["before", "after 3"]


def test_the_probe_draws_no_random_number() -> None:
    model = build("llama", attention_dropout=0.5).train()
    module = LogProbs(model)
    torch.manual_seed(5)
    first = module(*data(seed=5), ALL)
    torch.manual_seed(5)
    second = module(*data(seed=5), ALL)
    assert torch.equal(first.logp_N, second.logp_N)


def test_names_of_weights_gain_only_the_prefix_model() -> None:
    model = build("llama")
    names = [f"model.{n}" for n in model.state_dict()]
    module = LogProbs(model)
    module(*data(), ALL)
    assert list(module.state_dict()) == names


@pytest.mark.parametrize("family", FAMILIES)
def test_the_probe_finds_what_a_family_does_to_its_logits(family: str) -> None:
    post, want = probe(build(family)), POSTS.get(family, Post())
    assert post.mul == pytest.approx(want.mul, rel=1e-6)
    assert post.softcap == (None if want.softcap is None else pytest.approx(want.softcap, rel=1e-6))
    assert post.columns is None


class Odd(nn.Module):
    """A model whose logits are an odd function of its head's answer."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.embed, self.head, self.change = nn.Embedding(V, 8), nn.Linear(8, V), change

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, input_ids: Tensor, use_cache: bool) -> Any:
        class Answer:
            logits = self.change(self.head(self.embed(input_ids)))

        return Answer


def test_the_probe_finds_factor_cap_and_columns_together() -> None:
    post = probe(Odd(Post(mul=2.5, softcap=30.0, columns=50)))
    assert post.columns == 50
    assert (post.mul, post.softcap) == pytest.approx((2.5, 30.0))


@pytest.mark.parametrize(
    "change",
    [
        lambda z: z + torch.arange(V),
        lambda z: z + 0.01,
        lambda z: z.relu(),
        lambda z: z.log_softmax(-1),
        lambda z: z * torch.linspace(1, 2, V),
        lambda z: z.clamp(-20, 20),
        lambda z: z * 0,
        lambda z: z[0],
    ],
)
def test_the_probe_refuses_what_it_cannot_explain(change: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(PlanError, match="in a way not known here"):
        probe(Odd(change))


def test_a_model_without_a_head_is_refused() -> None:
    with pytest.raises(PlanError, match="Embedding has no output head"):
        probe(nn.Embedding(2, 2))


@pytest.mark.parametrize("entropy", [False, True])
def test_the_generic_way_in_chunks_equals_one_piece(entropy: bool) -> None:
    torch.manual_seed(0)
    head = nn.Linear(8, V).double()
    h_NH, labels_N = torch.randn(20, 8, dtype=torch.float64), torch.randint(V, (20,))
    h_NH.requires_grad_()

    def run(chunk_bytes: int) -> list[Tensor]:
        said = generic_logp(
            head.forward,
            h_NH,
            labels_N,
            Post(),
            entropy=entropy,
            mean_logp=not entropy,
            chunk_bytes=chunk_bytes,
        )
        loss = loss_of(Outputs(**said._asdict()))
        return [said.logp_N, *torch.autograd.grad(loss, [h_NH, head.weight])]

    for a, b in zip(run(7 * V * 8 * 4), run(2**30), strict=True):
        assert far(a, b) < 1e-12


def _mine(rank: int) -> tuple[dict[str, Tensor], Tensor]:
    """Return this rank's rows: two of three, or one."""
    inputs, labels_BT = data()
    at = slice(0, 2) if rank == 0 else slice(2, 3)
    labels_BT[2, 3:5] = 7
    return {k: v[at] for k, v in inputs.items()}, labels_BT[at]


def _compare(module: nn.Module, model: nn.Module, kind: str, twin: nn.Module, rank: int) -> None:
    """Compare gradients summed over two ranks with one process on all rows."""
    inputs, labels_BT = data()
    labels_BT[2, 3:5] = 7
    if kind == "tp":
        mine, whole = (inputs, labels_BT), 1
    else:
        mine, whole = _mine(rank), 2  # both engines average over ranks
    for _ in range(2):
        out = module(*mine, ALL)
        (_row_loss(out) * whole).backward()  # type: ignore[no-untyped-call]
        got = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
        model.zero_grad()
        want = grads(twin, _row_loss(plain(twin, inputs, labels_BT)))
        assert list(got) == list(want)
        largest = torch.stack([g.abs().max() for g in want.values()]).max()
        for name, grad in got.items():
            assert grad is not None
            full = grad.full_tensor() if isinstance(grad, DTensor) else grad
            assert far(full, want[name], largest) < 1e-12, name


def _row_loss(out: Outputs) -> Tensor:
    assert out.entropy_N is not None
    assert out.mean_logp_N is not None
    more = out.entropy_N.square().sum() + out.mean_logp_N.square().sum()
    return out.logp_N.sigmoid().sum() + more * 0.1


def _rank(rank: int, store: str, kind: str, tied: bool, lora: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    _engine(rank, kind, tied, lora)
    # A group that FSDP2's cycles keep until the interpreter ends aborts it now and then (torch
    # 2.13, gloo: "terminate called without an active exception"), after all is done.
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()


def _engine(rank: int, kind: str, tied: bool, lora: str) -> None:
    model, twin = build("qwen3", tied=tied), build("qwen3", tied=tied)
    if lora:
        targets = ["q_proj", "lm_head"] if lora == "head" else ["q_proj"]
        torch.manual_seed(3)
        model = with_lora(model, target_modules=targets)
        torch.manual_seed(3)
        twin = with_lora(twin, target_modules=targets)
    module: nn.Module = LogProbs(model)
    mesh = init_device_mesh("cpu", (2,))
    inner: Any = model.get_base_model() if lora else model  # type: ignore[operator]
    if kind == "ddp":
        module = DistributedDataParallel(module)
    elif kind == "tp":
        _split_head(inner, mesh)
    else:
        units = [*inner.model.layers, *([inner.lm_head] if kind == "fsdp head" else [])]
        for unit in units:
            fully_shard(unit, mesh=mesh)
        fully_shard(module, mesh=mesh)
    _compare(module, model, kind, twin, rank)


def _split_head(model: Any, mesh: Any) -> None:
    """Split the weight of an untied head by vocabulary."""
    head = model.get_output_embeddings()
    cut = distribute_tensor(head.weight.detach().clone(), mesh, [Shard(0)])
    head.weight = nn.Parameter(cut, requires_grad=head.weight.requires_grad)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "tied", "lora"),
    [
        ("ddp", False, ""),
        ("ddp", True, ""),
        ("ddp", True, "layers"),
        ("fsdp", False, ""),
        ("fsdp", True, ""),
        ("fsdp", False, "layers"),
        ("fsdp", True, "layers"),
        ("fsdp", False, "head"),
        ("fsdp head", False, ""),
        ("fsdp head", False, "layers"),
        ("tp", False, ""),
        ("tp", False, "layers"),
    ],
)
def test_two_processes_equal_one(tmp_path: Path, kind: str, tied: bool, lora: str) -> None:
    spawn(_rank, (str(tmp_path / "store"), kind, tied, lora), nprocs=2)  # type: ignore[no-untyped-call]
