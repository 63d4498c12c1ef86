"""A model of an old layout goes the whole way as any other, and the plan says what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from swift.checkpoint import read_card, served
from swift.cli.main import main
from swift.core.errors import PlanError
from swift.engine import Request, Sampling
from swift.engine.torch import Torch
from tests.kit import chat_rows
from tests.model.test_rewritten import CASES
from tests.model.test_sentencepiece import KINDS, trained, with_words

CHAT = (
    "{% for m in messages %}<s>{{ m.role }} {{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant {% endif %}"
)


@pytest.mark.parametrize("name", ["baichuan2", "chatglm2", "internlm2", "minicpm", "orion"])
def test_it_is_trained_merged_and_answers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "cache"))
    folder = with_words(tmp_path / name, CASES[name](), 420, seq_length=256)
    config = json.loads((folder / "config.json").read_text())
    config |= {"max_position_embeddings": 256} if "max_position_embeddings" in config else {}
    (folder / "config.json").write_text(json.dumps(config))
    trained(folder / "tokenizer.model", **KINDS["bpe"])
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHAT}))
    if name == "baichuan2":
        (folder / "modeling_baichuan.py").write_text("class NormHead: ...")
    rows, run, out = chat_rows(tmp_path / "rows.jsonl", 4), tmp_path / "run", tmp_path / "out"
    words = f"--model {folder} --dataset {rows} --max_steps 2 --batch_size 2 --output_dir {run}"
    assert main(["sft", *words.split(), "--dry_run"]) == 0
    assert "without its own code" in capsys.readouterr().out
    assert main(["sft", *words.split()]) == 0
    assert read_card(run / "checkpoint-2").code is None
    assert main(["merge", str(run), "--output", str(out)]) == 0
    if name == "orion":  # transformers gives StableLM no attention of others
        with pytest.raises(PlanError, match="cannot run StableLmForCausalLM: its attention is"):
            Torch().open(served(str(run)))
        return
    engine = Torch(adapter="applied").open(served(str(run)))
    asked = Request(ids=[1, 300, 301], sampling=Sampling(max_tokens=4, temperature=0))
    (answer,) = engine.generate([asked])
    engine.close()
    model = AutoModelForCausalLM.from_pretrained(out)
    told = model.generate(torch.tensor([[1, 300, 301]]), max_new_tokens=4, do_sample=False)
    assert told[0, 3:].tolist()[: len(answer.ids)] == list(answer.ids)
