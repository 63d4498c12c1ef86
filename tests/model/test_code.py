"""Models that bring code of their own are refused, and the refusal says what there is instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swift.core.errors import PlanError
from swift.model.code import is_native, refusal
from swift.model.facts import read_facts
from swift.model.names import rows
from swift.model.structures import structures


def config(model_type: str, **more: Any) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "auto_map": {"AutoConfig": f"configuration_{model_type}.C", "AutoModel": "modeling_x.M"},
        **more,
    }


def test_code_of_a_folder_is_refused_with_the_key_that_will_allow_it(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "config.json").write_text(json.dumps(config("acme")))
    (tmp_path / "configuration_acme.py").write_text(f"open({str(marker)!r}, 'w')")
    with pytest.raises(PlanError) as caught:
        read_facts("./acme", tmp_path)
    (problem,) = caught.value.problems
    assert "configuration_acme.py, modeling_x.py" in problem.what
    assert "trust_remote_code" in problem.fix
    assert not marker.exists()


def test_a_list_of_classes_is_named_by_its_files() -> None:
    problem = refusal("./mine", {"model_type": "acme", "auto_map": {"A": [None, "a/b--tok.T"]}})
    assert problem is not None
    assert "(tok.py)" in problem.what


def test_the_same_model_in_transformers_own_layout_is_named() -> None:
    problem = refusal("OpenGVLab/InternVL3_5-8B", config("internvl_chat"))
    assert problem is not None
    assert "write `OpenGVLab/InternVL3_5-8B-HF`" in problem.fix


def test_the_versions_that_the_code_wants_are_said() -> None:
    problem = refusal("deepseek-ai/deepseek-vl2", config("deepseek_vl_v2"))
    assert problem is not None
    assert "transformers<4.42" in problem.what


def test_a_near_architecture_is_named() -> None:
    problem = refusal("./mine", config("minimax_m1", architectures=["MiniMaxM1ForCausalLM"]))
    assert problem is not None
    assert "MiniMaxForCausalLM is near to it" in problem.fix


@pytest.mark.parametrize("model_type", ["qwen2", "deepseek_v3", "phi3"])
def test_code_beside_a_native_structure_is_not_needed(model_type: str) -> None:
    assert refusal("./mine", config(model_type)) is None


def test_native_is_what_the_installed_transformers_lists() -> None:
    assert all(map(is_native, ["llama", "blip-2", "qwen3_vl", "whisper", "kosmos-2.5"]))
    assert not any(map(is_native, ["", "acme", "internvl_chat", "baichuan", "chatglm"]))


def test_every_row_has_a_structure_and_every_native_one_is_in_transformers() -> None:
    assert {row.structure for row in rows()} <= structures().keys()
    for known in structures().values():
        assert known.status in ("native", "mapped", "converted", "near", "remote")
        assert bool(known.native) == (known.status != "remote"), known.structure
        if known.status == "native":
            assert any(map(is_native, (known.structure, *known.model_types))), known.structure


def test_a_kind_that_nobody_knows_asks_for_its_plug_in() -> None:
    problem = refusal("./mine", {"model_type": "ripple"})
    assert problem is not None
    assert "`ripple`, which this transformers does not know" in problem.what
    assert "--plugins" in problem.fix
