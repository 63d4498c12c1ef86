"""A model that only code of its own computes: never unasked; asked, it goes the whole way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from swift.api import prepare_model, train
from swift.checkpoint import read_card, served
from swift.cli.main import main
from swift.core.errors import PlanError
from swift.engine import Request, Sampling
from swift.engine.torch import Torch
from swift.model.facts import read_facts
from swift.model.skeleton import skeleton
from tests.kit import chat_rows, tiny_chat_model

CONFIG = """
from transformers import LlamaConfig
{canary}

class AcmeConfig(LlamaConfig):
    model_type = "acme"
"""
MODEL = """
from transformers import LlamaForCausalLM
from .acme_mlp import AcmeMLP
from .configuration_acme import AcmeConfig
{canary}

class AcmeForCausalLM(LlamaForCausalLM):
    config_class = AcmeConfig
    {more}

    def __init__(self, config):
        super().__init__(config)
        for layer in self.model.layers:
            layer.mlp = AcmeMLP(config)
        self.post_init()
"""
MLP = """
from torch import nn
{canary}

class AcmeMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x):
        return self.down_proj(self.up_proj(x).relu().square())
"""


def acme(folder: Path, *, more: str = "") -> tuple[Path, Path]:
    """Write a tiny model with code of its own; return it and the marker that the code writes."""
    from safetensors.torch import save_file

    tiny_chat_model(folder)
    weights = load_file(folder / "model.safetensors")
    weights = {n: w for n, w in weights.items() if "gate_proj" not in n}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    auto = {"AutoConfig": "configuration_acme.AcmeConfig"}
    auto["AutoModelForCausalLM"] = "modeling_acme.AcmeForCausalLM"
    named = {"model_type": "acme", "architectures": ["AcmeForCausalLM"], "auto_map": auto}
    (folder / "config.json").write_text(json.dumps(config | named))
    marker = folder.with_name(f"{folder.name}.ran")
    canary = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    for name, text in (("configuration_acme", CONFIG), ("modeling_acme", MODEL), ("acme_mlp", MLP)):
        code = text.replace("{canary}", canary).replace("{more}", more)
        (folder / f"{name}.py").write_text(code)
    return folder, marker


def trained(folder: Path, tmp_path: Path, *words: str) -> Path:
    rows = chat_rows(tmp_path / "rows.jsonl", 4)
    run = tmp_path / "run"
    flags = f"--model {folder} --dataset {rows} --max_steps 2 --batch_size 2 --output_dir {run}"
    assert main(["sft", *flags.split(), "--trust_remote_code", *words]) == 0
    return run


@pytest.mark.parametrize(
    "words",
    [
        "show {folder}",
        "sft --model {folder} --dataset {rows} --dry_run",
        "sft --model {folder} --dataset {rows} --max_steps 1 --output_dir {run}",
        "sft --model {folder} --dataset {rows} --trust_remote_code false --max_steps 1",
        "infer {folder} --dataset {rows} --output {out}",
        "serve {folder} --port 0",
        "chat {folder}",
        "merge {folder}",
    ],
)
def test_code_that_nobody_allowed_is_never_imported(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, marker = acme(tmp_path / "acme")
    rows = chat_rows(tmp_path / "rows.jsonl", 4)
    places = {"folder": folder, "rows": rows, "run": tmp_path / "run", "out": tmp_path / "out"}
    code = main([word.format(**places) for word in words.split()])
    assert not marker.exists()
    said = capsys.readouterr()
    if words.startswith("show"):
        assert code == 0
        assert "by its own code, which runs only with --trust_remote_code" in said.out
        return
    assert code == 2
    assert "configuration_acme.py, modeling_acme.py" in said.err
    assert "--trust_remote_code" in said.err
    assert not (tmp_path / "run").exists()


def test_the_python_doors_do_not_import_it_either(tmp_path: Path) -> None:
    folder, marker = acme(tmp_path / "acme")
    rows = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]
    for door in (
        lambda: prepare_model(str(folder)),
        lambda: train(model=str(folder), dataset=rows),
        lambda: served(str(folder)),
    ):
        with pytest.raises(PlanError, match="code of its own"):
            door()
    assert not marker.exists()


def test_the_plan_says_which_code_runs_and_the_checkpoint_remembers_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from hashlib import sha256

    folder, marker = acme(tmp_path / "acme")
    rows = chat_rows(tmp_path / "rows.jsonl", 4)
    flags = ["--model", str(folder), "--dataset", str(rows), "--dry_run", "--trust_remote_code"]
    assert main(["sft", *flags]) == 0
    assert not marker.exists()  # to plan, nothing is run
    digest = sha256((folder / "modeling_acme.py").read_bytes()).hexdigest()
    said = capsys.readouterr().out
    assert f"modeling_acme.py (sha256 {digest[:12]}) and 1 files beside" in said
    run = trained(folder, tmp_path)
    assert marker.exists()
    card = read_card(run / "checkpoint-2")
    assert card.code is not None
    assert card.code.files["modeling_acme.py"] == digest
    assert set(card.code.files) == {"acme_mlp.py", "configuration_acme.py", "modeling_acme.py"}


def answer(id: str) -> str:
    """Return a greedy answer through the torch engine."""
    asked = Request(ids=[40, 41, 42], sampling=Sampling(max_tokens=6, temperature=0))
    engine = Torch(adapter="merged").open(served(id, trust=True))
    try:
        (found,) = engine.generate([asked])
        return str(found.ids)
    finally:
        engine.close()


def test_it_trains_saves_merges_and_answers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder, _ = acme(tmp_path / "acme")
    run = trained(folder, tmp_path, "--learning_rate", "0.01")
    with pytest.raises(PlanError, match="--trust_remote_code"):
        served(str(run))  # a run is no permission
    out = tmp_path / "merged"
    assert main(["merge", str(run), "--output", str(out), "--trust_remote_code"]) == 0
    assert answer(str(run)) == answer(str(out))
    ids = torch.arange(8)[None]
    whole = AutoModelForCausalLM.from_pretrained(out, trust_remote_code=True)
    beside, tokenizer = prepare_model(str(run), trust_remote_code=True)
    bare, _ = prepare_model(str(folder), trust_remote_code=True)
    with torch.no_grad():
        merged, applied, base = (m.eval()(ids).logits for m in (whole, beside, bare))
    assert float((merged - applied).abs().max()) <= 1e-5
    assert float((merged - base).abs().max()) > 1e-3  # it learned
    told = tokenizer("red blue", return_tensors="pt")
    assert beside.generate(**told, max_new_tokens=3, do_sample=False).shape[1] > 2


def test_a_model_trained_whole_takes_its_code_along(tmp_path: Path) -> None:
    folder, _ = acme(tmp_path / "acme")
    run = trained(folder, tmp_path, "--tuner", "full")
    checkpoint = run / "checkpoint-2"
    for name in ("acme_mlp.py", "configuration_acme.py", "modeling_acme.py"):
        assert (checkpoint / name).read_bytes() == (folder / name).read_bytes()
    assert len(answer(str(run))) > 2


def test_attention_of_its_own_is_trained_and_generates_but_is_not_served(tmp_path: Path) -> None:
    folder, _ = acme(tmp_path / "acme", more="_supports_attention_backend = False")
    run = trained(folder, tmp_path)
    with pytest.raises(PlanError, match="cannot run AcmeForCausalLM: its attention is its own"):
        answer(str(run))
    model, tokenizer = prepare_model(str(run), trust_remote_code=True)
    told = tokenizer("red", return_tensors="pt")
    assert model.generate(**told, max_new_tokens=3, do_sample=False).shape[1] > 1


def test_code_that_changed_after_it_was_allowed_is_not_run(tmp_path: Path) -> None:
    folder, marker = acme(tmp_path / "acme")
    facts = read_facts("acme", folder, trust=True)
    (folder / "acme_mlp.py").write_text("raise SystemExit('another')")
    with pytest.raises(PlanError, match=r"has changed since: acme_mlp\.py"):
        skeleton(facts, "sdpa")
    assert not marker.exists()


def test_code_that_does_not_fit_this_transformers_is_said_with_what_it_asks_for(
    tmp_path: Path,
) -> None:
    folder, _ = acme(tmp_path / "acme", more="from transformers import no_such_thing")
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["DeepseekOCRForCausalLM"]
    (folder / "config.json").write_text(json.dumps(config))
    facts = read_facts("./mine", folder, trust=True)
    with pytest.raises(PlanError, match=r"ImportError.*no_such_thing.*transformers==4\.46\.3"):
        skeleton(facts, "sdpa")


@pytest.mark.parametrize(
    ("auto", "says"),
    [
        ({"AutoModelForCausalLM": "a/b--modeling_acme.X"}, "from another repository, a/b"),
        ({"AutoTokenizer": [None, "a/b--token.X"]}, "from another repository, a/b"),
        ({"AutoModelForCausalLM": "modeling_gone.X"}, r"does not hold: modeling_gone\.py"),
        ({"AutoModelForCausalLM": "../modeling_acme.X"}, r"does not hold"),
        ({"AutoModelForCausalLM": None}, "names no AutoModelForCausalLM"),
    ],
)
def test_code_that_is_not_all_in_the_folder_is_refused_even_if_allowed(
    auto: dict[str, Any], says: str, tmp_path: Path
) -> None:
    folder, marker = acme(tmp_path / "acme")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] |= auto
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(PlanError, match=says):
        read_facts("acme", folder, trust=True)
    assert not marker.exists()


def test_code_of_a_tokenizer_is_not_run_though_the_models_is(tmp_path: Path) -> None:
    folder, _ = acme(tmp_path / "acme")
    elsewhere, ran = tmp_path / "elsewhere", tmp_path / "ran"
    elsewhere.mkdir()
    (elsewhere / "tok.py").write_text(f"open({str(ran)!r}, 'w')\nclass T: pass")
    said = json.loads((folder / "tokenizer_config.json").read_text())
    said |= {"auto_map": {"AutoTokenizer": [None, f"{elsewhere}--tok.T"]}, "tokenizer_class": "T"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    _, tokenizer = prepare_model(str(folder), trust_remote_code=True)
    assert tokenizer.decode(tokenizer("red blue").input_ids) == "red blue"
    assert not ran.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--trust_remote_code", "{folder}"],
        ["--trust_remote_code", "true", "{folder}"],
        ["{folder}", "--trust-remote-code"],
        ["{folder}", "--trust_remote_code=true"],
        ["{folder}", "--model.trust_remote_code", "true"],
    ],
)
def test_the_flag_stands_anywhere_with_or_without_a_value(
    words: Sequence[str], tmp_path: Path
) -> None:
    folder, _ = acme(tmp_path / "acme")
    rows, out = chat_rows(tmp_path / "rows.jsonl", 2), tmp_path / "out.jsonl"
    more = ["--dataset", str(rows), "--output", str(out), "--max_tokens", "3"]
    assert main(["infer", *(w.format(folder=folder) for w in words), *more]) == 0
    assert len(out.read_text().splitlines()) == 2


def test_a_native_model_runs_no_code_even_if_allowed(tmp_path: Path) -> None:
    folder, marker = acme(tmp_path / "acme")
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "qwen2"}
    (folder / "config.json").write_text(json.dumps(config))
    facts = read_facts("acme", folder, trust=True)
    assert facts.code is None
    skeleton(facts, "sdpa")
    assert not marker.exists()
