"""NF4 by bitsandbytes: what is packed, what it costs, and what training makes of it."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from swift.core.errors import MachineError, PlanError, RecipeError, UserError
from swift.core.events import read_events
from swift.model.facts import read_facts
from swift.optimizer.adamw import AdamW
from swift.parallel import Placement, Site, strategies
from swift.plan import resolve
from swift.quant import quantise_live
from swift.quant.bnb import Bnb
from swift.recipe import Recipe, read
from swift.run.source import ModelSource
from swift.seam.types import Need
from swift.tuner.lora import Lora
from tests.kit import batch, chat_rows, on_ranks, random_rows, tiny_chat_model, tiny_model

# PEFT 0.21 asks transformers 5 for an attribute by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

NEED: frozenset[Need] = frozenset({"logp"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("bnb") / "model", tied=False, hidden=64)


def placed(folder: Path, quant: Bnb | None, strategy: str = "none", **site: Any) -> Placement:
    source = ModelSource(
        read_facts("tiny", folder), Lora(rank=4), dtype="float32", seed=7, quant=quant
    )
    place = strategies.get(strategy)().place
    return place(source, "policy", AdamW(), 1e-2, Site(**site))


def full_model(folder: Path) -> nn.Module:
    from transformers import AutoModelForCausalLM

    model: nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model


def with_lora(model: nn.Module, **options: Any) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, **options)
    made: nn.Module = get_peft_model(model, config)
    return made


def logits(model: nn.Module, *, detach: bool = True) -> Tensor:
    ids = torch.arange(24).reshape(2, 12)
    found: Tensor = model(input_ids=ids, use_cache=False).logits
    return found.detach() if detach else found


def packed_layers(model: nn.Module) -> dict[str, Any]:
    from bitsandbytes.nn import Linear4bit

    return {n: m for n, m in model.named_modules() if isinstance(m, Linear4bit)}


# --- what is packed --------------------------------------------------------------------------


@pytest.mark.parametrize("quant", [Bnb(), Bnb(double=False), Bnb(type="fp4")], ids=str)
def test_a_packed_weight_is_what_bitsandbytes_makes_of_the_file_s(folder: Path, quant: Bnb) -> None:
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    stored = dict(full_model(folder).named_parameters())
    layers = packed_layers(placed(folder, quant).model())
    assert len(layers) == 2 * 7
    for name, layer in layers.items():
        key = Lora().canonical(f"{name}.weight")
        expected = dequantize_4bit(
            *quantize_4bit(
                stored[key].detach(), compress_statistics=quant.double, quant_type=quant.type
            )
        )
        assert torch.equal(quant.whole(layer.weight), expected), name
        x = torch.randn(3, layer.in_features)
        y = torch.nn.functional.linear(x, expected, layer.bias)
        assert torch.allclose(layer(x), y, atol=1e-5), name


def test_head_embeddings_norms_and_biases_stay_as_they_are(folder: Path) -> None:
    stored = dict(full_model(folder).named_parameters())
    weights = dict(placed(folder, Bnb()).weights(trained_only=False))
    same = {n for n, w in stored.items() if torch.equal(weights[n], w)}
    assert stored.keys() - same == {n for n in stored if n.endswith("proj.weight")}
    assert "model.embed_tokens.weight" in same


def test_a_weight_costs_half_a_byte_and_its_blocks(folder: Path) -> None:
    for double, per_block in ((True, 1), (False, 4)):
        for layer in packed_layers(placed(folder, Bnb(double=double)).model()).values():
            weights = layer.in_features * layer.out_features
            blocks = weights // 64
            state = layer.weight.quant_state
            own = layer.weight.nbytes + state.absmax.nbytes
            assert own == weights // 2 + blocks * per_block
            if double:
                assert state.state2.absmax.nbytes == 4 * -(-blocks // 256)


def test_the_proof_counts_weights_and_not_bytes(folder: Path) -> None:
    packed, plain = placed(folder, Bnb()).proof(), placed(folder, None).proof()
    assert (packed.numel, packed.local_numel) == (plain.numel, plain.local_numel)
    assert packed.trainable == plain.trainable
    weights = dict(placed(folder, Bnb()).weights(trained_only=False))
    assert sum(w.numel() for w in weights.values()) == packed.numel


def test_peft_has_its_own_layers_over_the_packed_ones(folder: Path) -> None:
    from peft.tuners.lora.bnb import Linear4bit as LoraLinear4bit

    kinds = {type(m) for m in placed(folder, Bnb()).model().modules() if hasattr(m, "lora_A")}
    assert kinds == {LoraLinear4bit}


def test_two_ranks_of_ddp_pack_and_step_as_one(folder: Path) -> None:
    alone = one_step(folder, "none", 0, 1)
    for got in on_ranks(ranked_step, 2, str(folder)):
        assert got.keys() == alone.keys()
        assert max(float((got[n] - alone[n]).abs().max()) for n in got) < 1e-5


def ranked_step(folder: str) -> dict[str, Tensor]:
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return one_step(Path(folder), "ddp", rank, world)


def one_step(folder: Path, strategy: str, rank: int, world: int) -> dict[str, Tensor]:
    policy = placed(folder, Bnb(), strategy, rank=rank, world=world)
    mine = [batch(random_rows(4, seed=i)) for i in range(2)][rank::world]
    policy.forward_backward(mine, lambda _, out: (-out.logp_N.sum(), {}), NEED)
    policy.step(None, 1.0)
    return {n: w.clone() for n, w in policy.weights(trained_only=True)}


def test_a_look_without_gradients_leaves_the_weights_alone(folder: Path) -> None:
    policy = placed(folder, Bnb())
    before = {n: m.weight.clone() for n, m in packed_layers(policy.model()).items()}
    rows = [batch(random_rows(4, seed=1))]
    first = policy.no_grad(rows, "policy", NEED)[0].logp_N
    again = policy.no_grad(rows, "policy", NEED)[0].logp_N
    after = {n: m.weight for n, m in packed_layers(policy.model()).items()}
    assert torch.equal(first, again)
    assert all(torch.equal(before[n], after[n]) for n in before)


def test_a_layer_of_broken_blocks_stays_as_it_is(tmp_path: Path) -> None:
    policy = placed(tiny_model(tmp_path / "model"), Bnb())  # 32 wide, 64 within the MLP
    assert {n.split(".")[-2] for n in packed_layers(policy.model())} == {"down_proj"}
    narrow = nn.Sequential(nn.Linear(32, 64)).requires_grad_(False)
    with pytest.raises(PlanError, match="multiple of 64 inputs"):
        Bnb().install(narrow, torch.float32)
    with pytest.raises(UserError, match="multiple of 64 inputs"):
        quantise_live(narrow, Bnb())


# --- the same as transformers' own way ---------------------------------------------------------


def test_the_logits_are_those_of_transformers_and_peft(folder: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    theirs = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=config, dtype=torch.float32
    )
    theirs = get_peft_model(theirs, LoraConfig(r=4, lora_alpha=32, target_modules="all-linear"))
    ours = placed(folder, Bnb()).model()
    draw = torch.Generator().manual_seed(5)
    other = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, p in ours.named_parameters():
            if "lora_" in name:
                p.normal_(0, 0.2, generator=draw)
                other[name].copy_(p)
    theirs.train()  # in eval, bitsandbytes repacks for AVX512, which small layers do not survive
    assert packed_layers(ours).keys() == packed_layers(theirs).keys()
    assert float((logits(ours) - logits(theirs)).abs().max()) <= 1e-5


# --- a live model ---------------------------------------------------------------------------------


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


# --- a run ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("qlora")
    tiny_chat_model(base / "model", hidden=64)
    chat_rows(base / "rows.jsonl", 32)
    train(base, "calm")
    return base


def recipe(base: Path, out: str) -> Recipe:
    path = base / f"{out}.yaml"
    path.write_text(
        f"model: {{id: {base / 'model'}, dtype: float32}}\n"
        f"dataset: {base / 'rows.jsonl'}\n"
        "tuner: {name: qlora, rank: 4, dropout: 0.1}\n"
        "data: {validation: 0.2}\n"
        "train: {max_steps: 12, batch_size: 8, micro_batch_size: 4, learning_rate: 5e-3,\n"
        "        save_every: 4, eval_every: 3, keep: 5}\n"
        f"output_dir: {base / out}\n"
    )
    return read(path)


def train(base: Path, out: str, resume: Path | None = None) -> Path:
    from swift.core.env import Ranks
    from swift.run.train import train as carry_out

    plan = resolve(recipe(base, out))
    (base / out).mkdir(exist_ok=True)
    return carry_out(plan, base / out, Ranks(), resume, lambda event: None)


def test_a_run_lowers_the_loss_and_leaves_a_plain_adapter(run: Path) -> None:
    from peft import PeftModel

    events = read_events(run / "calm" / "events.jsonl")
    losses = [e["loss"] for e in events if e["event"] == "step"]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    last = run / "calm" / "checkpoint-12"
    config = json.loads((last / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(run / "model")
    opened = PeftModel.from_pretrained(full_model(run / "model"), last)
    assert not packed_layers(opened)
    assert any(bool(p.any()) for n, p in opened.named_parameters() if "lora_B" in n)


def test_a_run_goes_on_to_the_bit(run: Path) -> None:
    from swift.run.save import digest_of

    calm = digest_of(run / "calm" / "checkpoint-12")
    assert digest_of(train(run, "again")) == calm
    for step in (8, 12):
        shutil.rmtree(run / "again" / f"checkpoint-{step}")
    last = train(run, "again", resume=run / "again" / "checkpoint-4")
    assert digest_of(last) == calm


# --- recipes ------------------------------------------------------------------------------------


def said(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return read(path)


@pytest.mark.parametrize(
    ("text", "rank", "quant"),
    [
        ("tuner: qlora", 8, Bnb()),
        ("tuner: {name: qlora, rank: 64}", 64, Bnb()),
        ("{tuner: qlora, quant: {double: false}}", 8, Bnb(double=False)),
        ("{adapter: qlora, load_in_4bit: true}", 8, Bnb()),
        ("{use_qlora: true, lora_rank: 2}", 2, Bnb()),
        ("use_qlora: false", 8, None),
        ("quant: bnb", 8, Bnb()),
        ("quant: {name: bnb, bits: 4, double: false, type: fp4}", 8, Bnb(double=False, type="fp4")),
        ("{quantization_bit: 4, double_quantization: false}", 8, Bnb(double=False)),
        ("{quant_bits: 4, quant_method: bnb}", 8, Bnb()),
        ("{load_in_4bit: true, bnb_4bit_quant_type: fp4}", 8, Bnb(type="fp4")),
        ("load_in_4bit: false", 8, None),
        ("quant: null", 8, None),
    ],
)
def test_a_word_for_four_bits_is_read(
    text: str, rank: int, quant: Bnb | None, tmp_path: Path
) -> None:
    found = said(tmp_path, text)
    assert found.tuner == Lora(rank=rank)
    assert found.quant == quant
    assert said(tmp_path, found.dump()) == found
    assert Recipe.model_validate(found.full()).quant == quant


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tuner: qlora\nquant: null", ":2 quant: `tuner: qlora` sets `quant: bnb`, but it is"),
        ("tuner: qlora\nload_in_4bit: false", ":2 load_in_4bit: `tuner: qlora` sets"),
        ("tuner: qlroa", "write `qlora`"),
        ("tuner: {name: qlora, rnak: 4}", "write `rank`"),
        ("quant: {bits: 4}", "`quant` has options, but no name"),
        ("quant: {name: bnb, bits: 3}", "give `4`"),
        ("quantization_bit: 8", "it takes `4`"),
        ("tuner: full\nquant: bnb", ":2 quant: `quant: bnb` freezes the weights, but"),
        ("tuner: qlora\nparallel: fsdp", "with strategy fsdp comes later"),
        (
            "quant: bnb\nparallel: {tensor_model_parallel_size: 2}",
            "with tensor_model_parallel_size 2 comes later",
        ),
    ],
)
def test_what_cannot_be_said_together_names_its_line(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=re.escape(says)) as caught:
        said(tmp_path, text)
    assert len(caught.value.problems) == 1


def test_without_bitsandbytes_its_extra_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swift.quant.bnb.find_spec", lambda name: None)
    extra = re.escape('pip install "swift-llm[bnb]"')
    with pytest.raises(PlanError, match=extra):
        resolve(read(None, [("tuner", "qlora"), ("model", str(folder))]))
    with pytest.raises(MachineError, match=extra):
        quantise_live(full_model(folder), Bnb())


def test_help_lists_the_preset() -> None:
    from swift.cli.options import page

    assert "qlora: stands for tuner: lora, quant: {name: bnb, bits: 4}" in page("sft")
