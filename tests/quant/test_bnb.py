"""NF4 by bitsandbytes: what is packed, what it costs, and what training makes of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from swift.core.errors import PlanError, UserError
from swift.core.events import read_events
from swift.plan import resolve
from swift.quant import quantise_live
from swift.quant.bnb import Bnb
from swift.recipe import Recipe, read
from swift.tuner.lora import Lora
from tests.kit import batch, chat_rows, on_ranks, random_rows, tiny_chat_model, tiny_model
from tests.quant.packed import NEED, full_model, logits, packed_layers, placed

# PEFT 0.21 asks transformers 5 for an attribute by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


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
