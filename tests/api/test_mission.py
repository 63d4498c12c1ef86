"""The Python snippets of the mission, word for word, on tiny weights under a local hub."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from swift.cli.main import main
from swift.core.env import cache_home
from swift.model.find import find_model
from tests.kit import chat_rows, tiny_qwen_v1

LIVE = """
from transformers import AutoModelForCausalLM
from swift import Swift, SwiftModel, LoRAConfig, prepare_model, train, train_rm, train_dpo

model = AutoModelForCausalLM.from_pretrained("qwen/Qwen-7B")
model = SwiftModel(model, config={"r": 8, "target_modules": ["q_proj", "v_proj"], "lora_alpha": 16, "lora_dropout": 0.1})
"""  # noqa: E501
PREPARED = """
from swift import Swift, LoRAConfig, prepare_model, train
model, tokenizer = prepare_model("qwen/Qwen-7B"); model = Swift.prepare_model(model, config=LoRAConfig(r=8, target_modules=["q_proj", "v_proj"], lora_alpha=32, lora_dropout=0.1))
train(model=model, dataset="alpaca-gpt4", max_epochs=3, per_device_train_batch_size=4, use_qlora=True, output_dir="./output/qwen-lora")
"""  # noqa: E501
NAMED = """
from swift import train
train(model="qwen-7b", dataset="custom_compliance_v1", use_qlora=True, lora_rank=8, output_dir="./checkpoints")
"""  # noqa: E501
REWARD = """
from swift import train_rm
train_rm(model="qwen-7b", dataset="preference_data")
"""
PREFERENCE = """
from swift import train_dpo
result = train_dpo(model="qwen-7b", ref_model="qwen-7b-base", beta=0.1, max_epochs=2)
"""
TRAINER = """
from swift.tuner.dpo import DPOTrainer
from swift import prepare_model
model, _ = prepare_model("qwen-7b"); ref_model, _ = prepare_model("qwen-7b-base")
result = DPOTrainer(model=model, ref_model=ref_model, beta=0.1, train_dataset=ds).train()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Path) -> Iterator[Path]:
    """A working directory beside a hub with a tiny Qwen-7B of the first layout."""
    monkeypatch.setenv("SWIFT_HUB", f"file://{hub}")
    monkeypatch.setenv("SWIFT_CACHE", str(hub.parent / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    chat_rows(tmp_path / "data" / "custom_compliance_v1.jsonl", 12)
    pairs(tmp_path / "data" / "preference_data.jsonl")
    yield tmp_path


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "hub"
    tiny_qwen_v1(folder / "models" / "qwen" / "Qwen-7B", wide=64)
    rows = folder / "datasets" / "AI-ModelScope" / "alpaca-gpt4-data-en" / "train.jsonl"
    rows.parent.mkdir(parents=True)
    lines = [
        {"instruction": f"say {word}", "input": "", "output": f"{word} {word}"}
        for word in ("red", "tall", "seven", "stone", "river", "light", "under", "small")
    ]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def pairs(path: Path) -> list[dict[str, str]]:
    rows = [
        {"prompt": f"which of {n}", "chosen": f"the tall {n}", "rejected": f"no stone {n}"}
        for n in range(8)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return rows


def say(snippet: str, **names: object) -> dict[str, object]:
    exec(compile(snippet, "<mission>", "exec"), names)
    return names


def test_a_model_opened_by_transformers_gets_an_adapter(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a folder that holds the path in the layout that transformers knows."""
    shutil.copytree(find_model("qwen/Qwen-7B", cache_home()), home / "qwen" / "Qwen-7B")
    model = say(LIVE)["model"]
    trained = [n for n, p in model.named_parameters() if p.requires_grad]  # type: ignore[attr-defined]
    assert trained and all("q_proj.lora_" in n or "v_proj.lora_" in n for n in trained)
    config = model.peft_config["default"]  # type: ignore[attr-defined]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (8, 16, 0.1)


def test_a_prepared_model_trains_in_four_bits(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = say(PREPARED)["model"]
    assert "weights are trained" in capsys.readouterr().err, "the trainable share is printed"
    kinds = {type(m).__name__ for m in model.modules()}  # type: ignore[attr-defined]
    assert "Linear4bit" in kinds
    last = sorted((home / "output" / "qwen-lora").glob("checkpoint-*"))[-1]
    config = json.loads((last / "adapter_config.json").read_text())
    assert config["target_modules"] == ["q_proj", "v_proj"] or set(config["target_modules"]) == {
        "q_proj",
        "v_proj",
    }
    assert (last / "tokenizer.json").is_file()
    assert (Path(config["base_model_name_or_path"]) / "config.json").is_file()


def test_a_model_and_rows_by_name_train(home: Path) -> None:
    say(NAMED)
    assert (home / "checkpoints" / "plan.json").is_file()
    plan = json.loads((home / "checkpoints" / "plan.json").read_text())
    assert plan["recipe"]["tuner"]["rank"] == 8
    assert plan["recipe"]["quant"]["bits"] == 4


def test_a_reward_model_is_trained_by_a_model_and_rows_by_name(home: Path) -> None:
    say(REWARD)
    (run,) = (home / "runs").iterdir()
    config = json.loads((run / "plan.json").read_text(encoding="utf-8"))["recipe"]
    assert config["method"]["name"] == "rm"
    assert list(run.glob("checkpoint-*/adapter_config.json"))


def test_preferences_without_rows_take_the_recipe_beside(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "recipe.yaml").write_text("dataset: ./data/preference_data.jsonl\n")
    result = say(PREFERENCE)["result"]
    assert "no dataset given, so ./recipe.yaml is read" in capsys.readouterr().err
    assert result.history[0]["loss"] == pytest.approx(0.6931, abs=1e-3)  # type: ignore[attr-defined]
    assert result.metrics["epoch"] == 2  # type: ignore[attr-defined]


def test_the_trainer_trains_a_live_model_on_live_rows(home: Path) -> None:
    rows = pairs(home / "rows.jsonl")
    found = say(TRAINER, ds=rows)
    assert found["result"].history[0]["loss"] == pytest.approx(0.6931, abs=1e-3)  # type: ignore[attr-defined]
    datasets = pytest.importorskip("datasets")
    again = say(TRAINER, ds=datasets.Dataset.from_list(rows))
    assert again["result"].metrics["loss"] == found["result"].metrics["loss"]  # type: ignore[attr-defined]


def test_what_is_not_there_yet_is_named_in_one_problem(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row 5's vllm and awq, row 6's zero3, row 4's reward model."""
    tried = {
        "vllm": ["serve", "--model_type=qwen-7b", "--serving_backend=vllm", "--port=0"],
        "zero3": ["train", "--parallel_strategy=zero3", "--batch_size=64", "--use_lora=False"],
        "awq": ["sft", "--model", "qwen-7b", "--quant", "awq"],
    }
    for name, words in tried.items():
        assert main(words) == 2
        said = capsys.readouterr().err
        assert name in said and "later version" in said and "problems" not in said, said


@pytest.mark.slow
def test_rows_five_and_six_run_as_commands(home: Path) -> None:
    """`python -m swift.serve` answers completions; torchrun trains what ./recipe.yaml names."""
    command = [sys.executable, "-m", "swift.serve", "--model_type=qwen-7b"]
    command += ["--serving_backend=torch", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = next(text for text in server.stdout if text.startswith("ready: "))
        url = f"{line.split()[1]}/completions"
        body = json.dumps({"model": "qwen-7b", "prompt": "say red", "max_tokens": 4}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["usage"]["completion_tokens"] <= 4
        server.terminate()
    assert server.returncode == 0
    (home / "recipe.yaml").write_text("model: qwen-7b\ndataset: alpaca-gpt4\ntrain: {epochs: 1}\n")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    script = str(Path(__file__).parents[2] / "train.py")
    flags = ["--parallel_strategy=ddp", "--batch_size=64", "--use_lora=False"]
    done = subprocess.run([*torchrun, script, *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list((home / "runs").glob("*/checkpoint-1/model.safetensors"))
