"""A model larger than one device is spread over several; here all of them are this CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from swift.checkpoint import served
from swift.core.errors import MachineError, PlanError
from swift.engine import Delta, Request, Sampling
from swift.engine._place import Layout, describe, layout, place_of, room_for_cache, spread
from swift.engine.torch import Torch
from swift.model.facts import read_facts
from swift.model.skeleton import skeleton
from swift.seam import device
from tests.kit import tiny_chat_model

TWO: Layout = {
    "model.embed_tokens": "cpu:0",
    "model.rotary_emb": "cpu:0",
    "model.layers.0": "cpu:0",
    "model.layers.1": "cpu:1",
    "model.norm": "cpu:1",
    "lm_head": "cpu:1",
}
AND_MEMORY: Layout = {**TWO, "model.layers.1": "cpu", "model.norm": "cpu:0", "lm_head": "cpu"}
"""Beside other devices, "cpu" keeps weights and copies them for each forward."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("place") / "model", tied=False)


def answers(folder: Path, **options: Any) -> list[list[int]]:
    engine = Torch(dtype="float32", max_step_tokens=7, **options).open(served(str(folder)))
    try:
        sampling = Sampling(temperature=0, max_tokens=12, ignore_eos=True)
        prompts = [list(range(5, 5 + n)) for n in (3, 20, 1)]
        found: list[Delta] = engine.generate([Request(ids=p, sampling=sampling) for p in prompts])
        return [list(delta.ids) for delta in found]
    finally:
        engine.close()


@pytest.fixture
def numbered_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let accelerate take cpu:0 and cpu:1 for the places that they stand for.

    torch calls all of them cpu, so that a weight on cpu:1 would be moved there again and again.
    """
    from accelerate import hooks

    real = hooks.set_module_tensor_to_device

    def set_there(module: Any, name: str, device: Any, **more: Any) -> None:
        real(module, name, "cpu" if str(device).startswith("cpu") else device, **more)

    monkeypatch.setattr(hooks, "set_module_tensor_to_device", set_there)


@pytest.mark.usefixtures("numbered_cpus")
@pytest.mark.parametrize("laid", [TWO, AND_MEMORY], ids=["two devices", "and the memory"])
def test_a_spread_model_answers_as_a_whole_one(
    laid: Layout, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = answers(folder)
    asked: list[Layout] = []

    def chosen(*_: Any) -> Layout:
        asked.append(laid)
        return laid

    monkeypatch.setattr("swift.engine._open.layout", chosen)
    assert answers(folder) == whole
    assert asked == [laid]


def bare(folder: Path) -> Any:
    return skeleton(read_facts("tiny", folder), "sdpa")


def test_a_model_that_fits_lies_on_the_first_device(folder: Path) -> None:
    free = {"first": 10**9, "second": 10**10}
    assert spread(bare(folder), torch.float32, free, 0) == {"": "first"}


def test_layers_fill_the_devices_in_order_and_none_is_cut(folder: Path) -> None:
    model = bare(folder)
    sizes = {name: 4 * p.numel() for name, p in model.named_parameters()}
    room = int(sum(sizes.values()) * 0.6 / 0.8)
    laid = spread(model, torch.float32, {"first": room, "second": room, "third": room}, 0)
    places = [place_of(name, laid) for name in sizes]
    assert places[0] == "first" != places[-1]
    assert places == sorted(places, key=["first", "second", "third"].index)
    for layer in ("model.layers.0.", "model.layers.1."):
        assert len({p for n, p in zip(sizes, places, strict=True) if n.startswith(layer)}) == 1
    for name in {*places}:
        taken = sum(s for s, p in zip(sizes.values(), places, strict=True) if p == name)
        assert 0 < taken <= 0.8 * room


def test_what_no_device_holds_stays_in_the_cpus_memory(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = bare(folder)
    room = int(4 * sum(p.numel() for p in model.parameters()) * 0.6 / 0.8)
    laid = spread(model, torch.float32, {"first": room}, 10**9)
    assert set(laid.values()) == {"first", "cpu"}
    assert "larger than one device" in caplog.text
    assert "in the CPU's memory" in caplog.text
    with pytest.raises(MachineError, match="all memory here"):
        spread(model, torch.float32, {"first": room}, 100)


def test_half_types_take_half_the_room(folder: Path) -> None:
    model = bare(folder)
    size = sum(p.numel() for p in model.parameters())
    free = {"first": int(size * 3 / 0.8), "second": 10**9}
    assert spread(model, torch.bfloat16, free, 0) == {"": "first"}
    assert len(spread(model, torch.float32, free, 0)) > 1


def test_tied_weights_lie_together(tmp_path: Path) -> None:
    model = bare(tiny_chat_model(tmp_path / "tied", tied=True))
    room = int(4 * sum(p.numel() for p in model.parameters()) * 0.7 / 0.8)
    laid = spread(model, torch.float32, {"first": room, "second": 10**9}, 0)
    assert place_of("lm_head.weight", laid) == place_of("model.embed_tokens.weight", laid)


@pytest.mark.parametrize("wish", ["auto", "none", "cpu"])
def test_without_accelerators_all_words_mean_the_cpu(wish: str, folder: Path) -> None:
    assert layout(bare(folder), torch.float32, wish) == {"": "cpu"}


@pytest.mark.parametrize("wish", ["meta", "no-such:thing", "hip:99"])
def test_a_device_that_is_not_here_is_named(wish: str, folder: Path) -> None:
    with pytest.raises(PlanError, match="is no device of this machine") as caught:
        layout(bare(folder), torch.float32, wish)
    assert caught.value.problems[0].fix == "auto, none, or one of cpu"


@pytest.mark.usefixtures("numbered_cpus")
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT 0.21
def test_an_adapter_beside_the_weights_stays_on_one_device(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(folder)
    get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path)
    monkeypatch.setattr("swift.engine._open.layout", lambda *_: TWO)
    what = served(str(folder), str(tmp_path))
    with pytest.raises(PlanError, match="cannot follow them") as caught:
        Torch(adapter="applied").open(what)
    assert caught.value.problems[0].fix == "engine.adapter: merged"
    Torch().open(what).close()


def test_the_cache_takes_what_the_tightest_device_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"cpu:0": 1000, "cpu:1": 300}
    monkeypatch.setattr(device, "free_memory", lambda where: free[str(where)])
    names = [f"model.layers.{i}.w" for i in range(4)]
    laid = {**{f"model.layers.{i}": "cpu:0" for i in range(3)}, "model.layers.3": "cpu:1"}
    assert room_for_cache(laid, names) == pytest.approx(0.8 * 300 * 4)
    assert room_for_cache({"": "cpu:0"}, names) == pytest.approx(0.8 * 1000)


def test_a_layout_is_told_in_words() -> None:
    assert describe({"": "cpu"}) == "all of it on the CPU"
    assert describe(TWO) == "3 parts on cpu:0, 3 parts on cpu:1"
