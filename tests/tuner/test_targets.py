"""Which layers `all-linear` means, in the architectures where it cannot mean all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from swift.core.errors import PlanError
from swift.tuner._lora import save
from swift.tuner._targets import chosen
from swift.tuner.lora import Lora
from tests.model.test_families import tiny

# PEFT 0.21 asks transformers 5 for an attribute by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def built(model_type: str) -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = AutoModelForCausalLM.from_config(tiny(model_type, 300))
    return model


def left_out(model: nn.Module) -> list[str] | None:
    targets, left = chosen(model, "all-linear")
    assert targets == "all-linear"
    return left


@pytest.mark.parametrize(
    ("model_type", "left"),
    [
        ("mamba", ["mixer.x_proj", "mixer.dt_proj", "mixer.out_proj"]),
        ("nemotron_h", ["mixer.out_proj"]),
        ("jamba", ["mamba.dt_proj"]),
        ("phimoe", ["mlp.router"]),
        ("llama4_text", ["feed_forward.router"]),
        ("deepseek_v4", ["self_attn.o_a_proj"]),
    ],
)
def test_what_an_adapter_would_not_reach_or_would_break_is_left_out_aloud(
    model_type: str, left: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert left_out(built(model_type)) == left
    assert f"all-linear leaves out {', '.join(left)}: " in capsys.readouterr().err


@pytest.mark.parametrize("model_type", ["llama", "falcon", "qwen3_next", "bloom", "qwen2_moe"])
def test_elsewhere_nothing_is_left_out_and_nothing_said(
    model_type: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert left_out(built(model_type)) is None
    assert capsys.readouterr().err == ""


def test_experts_that_no_adapter_reaches_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    Lora().attach(built("gpt_oss"))
    said = "mlp.experts.gate_up_proj, mlp.experts.down_proj are no Linear layers\n"
    assert capsys.readouterr().err == f"note: its experts are not adapted: {said}"


@pytest.mark.filterwarnings("ignore:The following .* keys did not match:RuntimeWarning")
def test_experts_that_adapters_reach_are_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    model = Lora().attach(built("qwen3_moe"))
    assert any("mlp.experts.lora_A" in name for name, _ in model.named_parameters())
    assert capsys.readouterr().err == ""


def test_a_parameter_that_is_no_layer_is_called_so() -> None:
    with pytest.raises(PlanError) as caught:
        chosen(built("gpt_oss"), ["gate_up_proj", "down_prj"])
    packed, unknown = caught.value.problems
    assert packed.what.startswith("`gate_up_proj` is a parameter here, not a layer")
    assert "o_proj" in packed.fix
    assert unknown.what == "no layer is called `down_prj`"


def test_a_block_that_layers_share_keeps_its_weights_and_the_others_are_trained() -> None:
    left = left_out(built("zamba"))
    assert left is not None
    assert {path.partition(".")[0] for path in left} == {"shared_transf"}
    trained = dict(Lora().attach(built("zamba")).named_parameters())
    assert any("mamba.in_proj.lora_A" in name for name in trained)
    assert not [name for name in trained if "shared_transf" in name and "lora_" in name]


class Grouped(nn.Linear):
    """A linear layer of its own kind, which still gives a product."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x @ self.weight.T + self.bias
        return y


class Two(nn.Linear):
    """A router."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        y = super().forward(x)
        return y, y.argmax(-1)


class Reads(nn.Module):
    """Code that asks a weight's type, and code that computes with one."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.read = nn.Linear(4, 4), nn.Linear(4, 4)
        self.own, self.router = Grouped(4, 4), Two(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.asked(x.to(self.asked.weight.dtype))
        y: Tensor = self.own(x @ self.read.weight)
        both: Tensor = y + self.router(x)[0]
        return both


def test_a_layer_is_known_by_what_code_does_with_it_and_not_by_its_name() -> None:
    assert left_out(nn.ModuleList([Reads(), Reads()])) == ["read", "router"]


def test_whoever_names_such_a_layer_gets_it() -> None:
    assert chosen(built("phimoe"), ["router"]) == (["router"], None)


def test_peft_opens_an_adapter_that_leaves_something_out(tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(tiny("mamba", 300))
    base.save_pretrained(tmp_path / "base")
    adapted = Lora(rank=2).attach(built("mamba"))
    weights = {
        n.replace(".default.", "."): torch.ones(p.shape)
        for n, p in adapted.named_parameters()
        if "lora_" in n
    }
    (tmp_path / "adapter").mkdir()
    save(weights.items(), adapted, tmp_path / "adapter", str(tmp_path / "base"))
    opened = PeftModel.from_pretrained(base, tmp_path / "adapter")
    found = {n for n, p in opened.named_parameters() if "lora_" in n and bool((p == 1).all())}
    assert {n.replace(".default.", ".") for n in found} == weights.keys()
