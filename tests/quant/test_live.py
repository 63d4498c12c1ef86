"""A live model packed to 4 bits in place, before or after adapters."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from swift.core.errors import UserError
from swift.model.facts import read_facts
from swift.optimizer.adamw import AdamW
from swift.parallel import Site, strategies
from swift.quant import quantise_live
from swift.quant.bnb import Bnb
from swift.run.source import ModelSource
from swift.tuner.lora import Lora
from tests.kit import batch, random_rows
from tests.quant.packed import NEED, full_model, logits, packed_layers, placed, with_lora

# PEFT 0.21 asks transformers 5 for an attribute by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def test_a_live_model_is_packed_once_and_stays_near(folder: Path) -> None:
    model = full_model(folder).requires_grad_(False)
    before = logits(model)
    exact = {n: p.detach().clone() for n, p in model.named_parameters() if "proj.weight" in n}
    assert quantise_live(model, Bnb()) == 14
    after = logits(model)
    for name, layer in packed_layers(model).items():
        error = (Bnb().whole(layer.weight) - exact[f"{name}.weight"]).abs().flatten()
        largest = exact[f"{name}.weight"].abs().reshape(-1, 64).amax(1).repeat_interleave(64)
        # Half of NF4's widest gap, which is 0.304 of the block's largest; the scale has 8 bits.
        assert bool((error <= 0.1525 * largest + 0.01).all()), name
    rounded = copy.deepcopy(full_model(folder))
    for name, layer in packed_layers(model).items():
        rounded.get_submodule(name).weight.data = Bnb().whole(layer.weight)
    assert torch.allclose(after, logits(rounded), atol=1e-4)
    assert not torch.equal(before, after)
    kept = dict(model.named_modules())
    assert quantise_live(model, Bnb()) == 0
    assert dict(model.named_modules()) == kept
    assert torch.equal(after, logits(model))


def test_a_model_that_is_trained_is_not_packed(folder: Path) -> None:
    model = full_model(folder)
    with pytest.raises(UserError, match="requires_grad_"):
        quantise_live(model, Bnb())
    model.get_submodule("model.layers.0").requires_grad_(False)
    assert quantise_live(model, Bnb()) == 7
    assert all(".0." in name for name in packed_layers(model))


@pytest.mark.parametrize("fused", [False, True])
def test_lora_over_a_packed_base_goes_forward_and_back(folder: Path, fused: bool) -> None:
    from swift.tuner._lora_fused import fuse

    model = with_lora(full_model(folder))
    if fused:
        fuse(model)
    reference = copy.deepcopy(model)
    assert quantise_live(model, Bnb()) == 14
    for name, layer in packed_layers(model).items():
        reference.get_submodule(name).weight.data = Bnb().whole(layer.weight)
    both = []
    for m in (model, reference):
        out = logits(m, detach=False)
        out.square().mean().backward()  # type: ignore[no-untyped-call]
        both.append((out.detach(), {n: p.grad for n, p in m.named_parameters() if p.requires_grad}))
    (out, grads), (expected, gradients) = both
    assert torch.allclose(out, expected, atol=1e-4)
    assert grads.keys() == gradients.keys()
    for name, grad in grads.items():
        assert grad is not None
        wanted = gradients[name]
        assert wanted is not None
        assert torch.allclose(grad, wanted, rtol=1e-3, atol=1e-5), name


@pytest.mark.filterwarnings("ignore:Merge lora module to 4-bit")
def test_merging_repacks_the_sum_and_leaves_a_plain_model(folder: Path) -> None:
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    model: Any = with_lora(full_model(folder))
    quantise_live(model, Bnb())
    sums = {
        n.removesuffix(".base_layer"): Bnb().whole(layer.weight)
        + model.get_submodule(n.removesuffix(".base_layer")).get_delta_weight("default")
        for n, layer in packed_layers(model).items()
    }
    merged = model.merge_and_unload()
    layers = packed_layers(merged)
    assert {f"base_model.model.{n}" for n in layers} == sums.keys()
    for name, layer in layers.items():
        expected = dequantize_4bit(
            *quantize_4bit(
                sums[f"base_model.model.{name}"].detach(),
                compress_statistics=True,
                quant_type="nf4",
            )
        )
        assert torch.equal(Bnb().whole(layer.weight), expected), name


def test_adapters_and_what_is_saved_whole_stay_in_full_precision(folder: Path) -> None:
    model: Any = with_lora(full_model(folder), modules_to_save=["lm_head"])
    model.add_adapter("second", model.peft_config["default"])
    before = {n: p.clone() for n, p in model.named_parameters() if "base_layer" not in n}
    quantise_live(model, Bnb())
    after = dict(model.named_parameters())
    assert any("lora_A.second" in n for n in before)
    assert all(torch.equal(after[n], p) for n, p in before.items())


def test_an_adapter_attached_afterwards_knows_the_packed_base(folder: Path) -> None:
    from peft.tuners.lora.bnb import Linear4bit as LoraLinear4bit

    model = full_model(folder).requires_grad_(False)
    quantise_live(model, Bnb())
    adapted = with_lora(model)
    assert sum(isinstance(m, LoraLinear4bit) for m in adapted.modules()) == 14


def test_a_live_policy_is_packed_by_the_run(folder: Path) -> None:
    source = ModelSource(
        read_facts("tiny", folder),
        Lora(rank=4),
        dtype="float32",
        seed=7,
        quant=Bnb(),
        live={"policy": full_model(folder)},
    )
    live = strategies.get("none")().place(source, "policy", AdamW(), 1e-2, Site())
    read_in = placed(folder, Bnb())
    rows = [batch(random_rows(4, seed=1))]
    a, b = (p.no_grad(rows, "policy", NEED)[0].logp_N for p in (live, read_in))
    assert torch.equal(a, b)
