"""The words of a recipe for 4 bits: what each stands for, and what it cannot stand beside."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from swift.core.errors import MachineError, PlanError, RecipeError
from swift.plan import resolve
from swift.quant import quantise_live
from swift.quant.bnb import Bnb
from swift.recipe import Recipe, read
from swift.tuner.lora import Lora
from tests.quant.packed import full_model


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
