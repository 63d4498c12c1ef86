"""An engine takes other weights while it is open, and answers by them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from swift.core.errors import PlanError
from swift.engine import Delta, Engine, Fresh, Request, Sampling, Served
from swift.engine.torch import Torch
from tests.kit import tiny_chat_model

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

ASKED = Request(ids=[5, 6, 7], sampling=Sampling(max_tokens=12, seed=3))


def opened(folder: Path, adapter: Path | None = None, how: str = "merged") -> Engine:
    served = Served(id="tiny", folder=folder, adapter=adapter, speech=folder, context=64)
    return Torch(adapter=how).open(served)


def lora(folder: Path, base: Path, seed: int) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base)
    wrapped = get_peft_model(
        model,
        LoraConfig(r=4, target_modules=["q_proj", "v_proj"][seed % 2 :], init_lora_weights=False),
    )
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [tiny_chat_model(tmp_path_factory.mktemp(f"base{i}"), seed=i) for i in range(2)]


def test_an_engine_with_another_models_weights_answers_as_that_one(bases: list[Path]) -> None:
    engine, other = opened(bases[0]), opened(bases[1])
    (before,) = engine.generate([ASKED])
    engine.sync(Fresh(version=3, weights=load_file(bases[1] / "model.safetensors").items()))
    (after,), (wanted,) = engine.generate([ASKED]), other.generate([ASKED])
    assert (before.version, after.version) == (0, 3)
    assert before.ids != after.ids == wanted.ids
    engine.close()
    other.close()


@pytest.mark.parametrize("how", ["merged", "applied"])
def test_an_adapter_takes_the_place_of_the_one_before(
    bases: list[Path], tmp_path: Path, how: str
) -> None:
    one, two = (lora(tmp_path / str(i), bases[0], seed=2 * i) for i in range(2))
    engine, wanted = opened(bases[0], one, how), opened(bases[0], two, how)
    engine.sync(Fresh(version=1, adapter=two))
    assert engine.generate([ASKED])[0].ids == wanted.generate([ASKED])[0].ids
    engine.close()
    wanted.close()


def test_what_only_the_adapter_before_changed_is_as_it_was(
    bases: list[Path], tmp_path: Path
) -> None:
    wide, narrow = lora(tmp_path / "wide", bases[0], 0), lora(tmp_path / "narrow", bases[0], 1)
    engine, wanted = opened(bases[0], wide), opened(bases[0], narrow)
    engine.sync(Fresh(version=1, adapter=narrow))
    assert engine.generate([ASKED])[0].ids == wanted.generate([ASKED])[0].ids
    engine.sync(Fresh(version=2, adapter=wide))
    engine.sync(Fresh(version=3, adapter=narrow))
    assert engine.generate([ASKED])[0].ids == wanted.generate([ASKED])[0].ids
    engine.close()
    wanted.close()


def test_answers_under_way_end_by_the_weights_they_began_with(bases: list[Path]) -> None:
    engine = opened(bases[0])
    long = Request(ids=[5, 6, 7], sampling=Sampling(max_tokens=40, seed=3, ignore_eos=True))
    (wanted,) = engine.generate([long])
    heard: list[Delta] = []
    done = threading.Event()

    def deliver(delta: Delta) -> None:
        heard.append(delta)
        if delta.finish:
            done.set()

    engine.submit(long, deliver)
    engine.sync(Fresh(version=1, weights=load_file(bases[1] / "model.safetensors").items()))
    assert done.is_set()
    assert heard[-1].ids == wanted.ids
    assert heard[-1].version == 0
    engine.close()


def test_weights_that_do_not_fit_are_refused_by_name(bases: list[Path]) -> None:
    engine = opened(bases[0])
    with pytest.raises(PlanError, match=r"`model\.norm\.weight` of \(3,\) does not fit"):
        engine.sync(Fresh(version=1, weights=[("model.norm.weight", torch.zeros(3))]))
    assert engine.generate([ASKED])[0].ids
    engine.close()
