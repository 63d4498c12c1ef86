"""`swift list` and `swift show` tell what catalogue and files say, and load nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from swift.cli.main import main
from swift.model.names import rows
from tests.kit import tiny_chat_model, tiny_model


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main([*words]) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_the_count_is_of_text_and_multimodal(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "list", "models", "--count", "--json"))
    assert found["text"] >= 713
    assert found["multimodal"] >= 451
    assert found["models"] == found["text"] + found["multimodal"] == len(rows())


def test_small_qwens_that_see(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["list", "models", "--family", "Qwen", "--modality", "vision", "--size", "<8"]
    table = said(capsys, *words)
    assert "Qwen/Qwen2.5-VL-7B-Instruct " in table
    assert "Qwen/Qwen2.5-VL-72B-Instruct" not in table
    assert "Qwen/Qwen2-Audio-7B" not in table
    found = json.loads(said(capsys, *words, "--json"))
    assert len(table.splitlines()) == len(found) + 1 > 10
    for model in found:
        assert model["family"] == "qwen"
        assert {"image", "video"} & set(model["modality"])
        assert 0 < model["size"] < 8


@pytest.mark.parametrize(
    ("size", "fits"),
    [
        ("7", lambda n: n == 7),
        (">=70B", lambda n: n >= 70),
        ("<=0.5", lambda n: 0 < n <= 0.5),
        ("3-8", lambda n: 3 <= n <= 8),
        (">70", lambda n: n > 70),
    ],
)
def test_sizes(capsys: pytest.CaptureFixture[str], size: str, fits: object) -> None:
    found = json.loads(said(capsys, "list", "models", f"--size={size}", "--json"))
    assert len(found) == sum(row.size > 0 and fits(row.size) for row in rows()) > 0  # type: ignore[operator]


def test_words_that_mean_nothing_are_told_all_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--family", "qwne", "--modality", "smell", "--size", "big", "--kind", "chta"]
    told = said(capsys, "list", "models", *words, code=2)
    assert "4 problems" in told
    assert "write `qwen`" in told
    assert "write `chat`" in told
    assert "`big` is no size" in told


@pytest.mark.parametrize(
    "words", [[], ["modles"], ["models", "--colour", "red"], ["models", "zzzz"]]
)
def test_a_wrong_word_is_a_problem(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert "fix:" in said(capsys, "list", *words, code=2)


@pytest.mark.parametrize(
    ("words", "id", "not_id"),
    [
        (["models", "qwen3"], "Qwen/Qwen3-8B", "Qwen/Qwen-7B"),
        (["qwen3"], "Qwen/Qwen3-8B", "Qwen/Qwen-7B"),
        (["qwen2.5 7B"], "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-72B-Instruct"),
        (["models", "0.5b", "qwen"], "Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
        (["llama3"], "meta-llama/Meta-Llama-3-8B", "Qwen/Qwen3-8B"),
    ],
)
def test_half_a_name_finds_its_models(
    capsys: pytest.CaptureFixture[str], words: list[str], id: str, not_id: str
) -> None:
    found = {row["huggingface"] for row in json.loads(said(capsys, "list", *words, "--json"))}
    assert id in found
    assert not_id not in found


def test_a_word_is_looked_for_among_data_sets_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert "alpaca-zh" in said(capsys, "list", "datasets", "ALPACA")
    assert main(["list", "qwen", "math"]) == 0
    assert "data sets match" not in capsys.readouterr().err  # none has both words


def test_several_families_are_listed_together(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "list", "models", "--family", "qwen,Llama", "--json"))
    assert {row["family"] for row in found} == {"qwen", "llama"}
    assert "write `qwen`" in said(capsys, "list", "models", "--family", "qwne,llama", code=2)


def test_data_sets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "alpaca-zh" in said(capsys, "list", "datasets")


def test_data_sets_are_listed_by_task_language_and_tag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = json.loads(said(capsys, "list", "datasets", "--task", "vqa", "--json"))
    assert len(found) >= 30
    assert all("vqa" in (row["task"], *row["uses"]) for row in found)
    words = ("--task", "DPO", "--language", "zh")
    found = json.loads(said(capsys, "list", "datasets", *words, "--json"))
    assert {"hh_rlhf_cn", "zhihu_rlhf_3k"} <= {row["name"] for row in found}
    assert all("dpo" in row["uses"] and "zh" in row["language"] for row in found)
    assert int(said(capsys, "list", "datasets", "--tag", "math", "--count")) >= 10
    assert int(said(capsys, "list", "datasets", "--count")) >= 197
    assert "latex_ocr" in said(capsys, "list", "datasets", "--task", "ocr")


def test_a_task_that_no_data_set_has_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "list", "datasets", "--task", "vqq", "--language", "zz", code=2)
    assert "write `vqa`" in told
    assert "one of code, en, multi, zh" in told or "write `zh`" in told


def test_show_says_what_is_known_of_a_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "show", "dataset", "Alpaca-GPT4-data-zh")
    assert "llm-wizard/alpaca-gpt4-data-zh" in told
    assert "48,818" in told
    found = json.loads(said(capsys, "show", "dataset", "medical_zh", "--json"))
    assert found["subsets"] == ["en", "zh"]
    assert "write `gsm8k`" in said(capsys, "show", "dataset", "gms8k", code=2)


def test_show_reads_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_chat_model(tmp_path / "m", tied=False)
    found = json.loads(said(capsys, "show", str(folder), "--json"))
    assert found["family"] == "llama (llama)"
    assert found["template"] == "yes"
    assert found["context"] == 256
    assert found["parameters"] == sum(found["parts"].values())
    embedding = found["parts"]["lm_head"]
    blocks = found["parts"]["model.layers"]
    assert found["parameters"] == 2 * embedding + blocks + 32
    norms = 2 * 2 * 32
    adapter = 2 * 8 * (4 * 32 + 2 * (32 + 16) + 3 * (32 + 64))  # q, o; k, v; gate, up, down
    packed = round((blocks - norms) * 4.127 / 8)
    assert found["memory"] == {
        "answer": 2 * found["parameters"],
        "qlora": packed + 2 * (2 * embedding + 32 + norms) + 16 * adapter,
        "lora": 2 * found["parameters"] + 16 * adapter,
        "full": 16 * found["parameters"],
    }


def test_show_says_that_a_template_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "template    no" in said(capsys, "show", str(tiny_model(tmp_path / "m")))


def test_show_sees_towers_of_a_structure_nobody_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {"text_config": {"vocab_size": 9}, "vision_config": {"patch_size": 4}}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "acme_vl", **parts}))
    names = ["model.eyes.blocks.0.w", "model.words.layers.0.w", "lm_head.weight"]
    save_file({name: torch.zeros(4, 4) for name in names}, tmp_path / "model.safetensors")
    found = json.loads(said(capsys, "show", str(tmp_path), "--json"))
    assert found["modality"] == ["text", "image"]
    assert found["roles"][:3] == ["vision", "aligner", "language"]
    assert "transformers does not know `acme_vl`" in found["runs"]
    assert found["parts"] == {"model.eyes": 16, "model.words": 16, "lm_head": 16}


def test_show_knows_a_listed_model_that_is_not_here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("SWIFT_HUB", raising=False)
    told = said(capsys, "show", "INTERNVL3-8B")
    assert "OpenGVLab/InternVL3-8B" in told
    assert "its own code is not run" in told
    assert "swift download InternVL3-8B" in told


@pytest.mark.parametrize("config", ["{", "[]", '{"model_type": 3, "text_config": 1}'])
def test_show_survives_a_spoilt_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str
) -> None:
    (tmp_path / "config.json").write_text(config)
    assert main(["show", str(tmp_path)]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err


def test_an_unknown_model_gets_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert "write `Qwen-7B`" in said(capsys, "show", "qwne-7b", code=2)


def test_show_of_a_file_says_that_it_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "README.md"
    path.write_text("words")
    assert "is a file, and a model is a folder" in said(capsys, "show", str(path), code=2)


def test_show_takes_the_flag_of_other_verbs_though_it_runs_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said(capsys, "show", "nano", "--trust_remote_code") == said(capsys, "show", "nano")
