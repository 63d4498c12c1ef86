"""What a tuner writes opens in plain transformers and PEFT and gives our logits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from swift.core.errors import PlanError
from swift.method.sft import Sft
from swift.model.facts import read_facts
from swift.optimizer.adamw import AdamW
from swift.parallel import Site
from swift.parallel._torch import TorchPlacement
from swift.run.loop import one_step
from swift.run.source import ModelSource
from swift.tuner import Tuner
from swift.tuner.freeze import Freeze
from swift.tuner.full import Full
from swift.tuner.lora import Lora
from tests.kit import bare_job, batch, random_rows, tiny_model

OPEN = """
import json, sys, torch
from transformers import AutoModelForCausalLM
kind, base, folder, ids = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
model = AutoModelForCausalLM.from_pretrained(base if kind == "adapter" else folder)
if kind == "adapter":
    from peft import PeftModel
    model = PeftModel.from_pretrained(model, folder)
with torch.no_grad():
    print(json.dumps(model(torch.tensor(ids)).logits.tolist()))
assert "swift" not in sys.modules
"""
IDS = [[3, 14, 15, 92, 65, 35, 89]]


def trained(folder: Path, tuner: Tuner) -> TorchPlacement:
    source = ModelSource(read_facts("tiny", folder), tuner, dtype="float32")
    policy = TorchPlacement(source, "policy", AdamW(), 3e-2, Site())
    job = bare_job(policy, Sft())
    for number in range(8):
        one_step(job, [batch(random_rows(4, seed=number))], 1.0)
    return policy


def logits(policy: TorchPlacement) -> Tensor:
    policy.train(False)
    with torch.no_grad():
        found: Tensor = policy.model()(torch.tensor(IDS)).logits
    return found


def opened(kind: str, base: Path, folder: Path) -> Tensor:
    done = subprocess.run(
        [sys.executable, "-c", OPEN, kind, str(base), str(folder), json.dumps(IDS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return torch.tensor(json.loads(done.stdout))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize(
    ("kind", "tuner"),
    [("adapter", Lora(rank=4)), ("model", Full()), ("model", Freeze(layers=1))],
    ids=["lora", "full", "freeze"],
)
def test_plain_libraries_give_our_logits(
    kind: str, tuner: Tuner, tied: bool, tmp_path: Path
) -> None:
    base = tiny_model(tmp_path / "base", tied=tied)
    before = opened("model", base, base)
    policy = trained(base, tuner)
    folder = tmp_path / "out"
    folder.mkdir()
    tuner.save(policy.weights(trained_only=tuner.adapters), policy.model(), folder, str(base))
    ours = logits(policy)
    assert float((ours - before).abs().max()) >= 0.1
    assert float((opened(kind, base, folder) - ours).abs().max()) < 1e-5


def test_an_adapter_names_its_base_and_stays_small(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    policy = trained(base, Lora(rank=4))
    folder = tmp_path / "out"
    folder.mkdir()
    Lora(rank=4).save(policy.weights(trained_only=True), policy.model(), folder, str(base))
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base)
    assert (config["r"], config["inference_mode"]) == (4, True)
    assert {p.name for p in folder.glob("*.safetensors")} == {"adapter_model.safetensors"}


def test_adapters_switched_off_are_the_base(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    policy = trained(base, Lora(rank=4))
    before = opened("model", base, base)
    with Lora(rank=4).off(policy.bare):
        assert float((logits(policy) - before).abs().max()) < 1e-5
    assert float((logits(policy) - before).abs().max()) >= 0.1


def test_frozen_layers_do_not_move(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    policy = trained(base, Freeze(layers=1, also=("norm",)))
    moved = {n for n, _ in policy.trained}
    assert all(".layers.1." in n or "norm" in n for n in moved)
    assert any(".layers.1." in n for n in moved)


@pytest.mark.parametrize(
    ("tuner", "says"),
    [
        (Lora(targets=("q_prj",)), "q_proj"),
        (Freeze(layers=9), "at most 2"),
        (Freeze(layers=0), "nothing would be trained"),
        (Freeze(also=("lm_hed",)), "no weight's name holds `lm_hed`"),
    ],
)
def test_a_tuner_that_fits_nothing_says_what_would(tuner: Tuner, says: str, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base")
    with pytest.raises(PlanError, match=says):
        trained(base, tuner)


def test_names_that_are_fused_in_a_model_mean_the_layer_that_holds_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in Qwen-7B's first code: one c_attn for query, key and value."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path / "base"))
    for layer in model.model.layers:
        for name in ("q_proj", "k_proj", "v_proj"):
            delattr(layer.self_attn, name)
        layer.self_attn.c_attn = torch.nn.Linear(32, 96)
    wrapped = Lora(rank=2, targets=("q_proj", "v_proj")).attach(model)
    adapted = {n for n, p in wrapped.named_parameters() if p.requires_grad}
    assert adapted and all("c_attn.lora_" in n for n in adapted)
    assert "q_proj, v_proj are one layer here, `c_attn`" in capsys.readouterr().err


def test_one_wrong_target_among_right_ones_is_told(tmp_path: Path) -> None:
    """PEFT adapts the others in silence."""
    with pytest.raises(PlanError, match="no layer is called `v_prj`"):
        trained(tiny_model(tmp_path / "base"), Lora(targets=("q_proj", "v_prj")))
