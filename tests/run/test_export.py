"""Base, adapter and merged model: one and the same, in our engine and in plain libraries."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from swift.checkpoint import served
from swift.cli.main import main
from swift.core.errors import PlanError
from swift.engine import Request, Sampling
from swift.engine._torch import TorchEngine
from swift.engine.torch import Torch
from swift.run.export import merge
from swift.tuner._quiet import quiet
from tests.kit import chat_rows, tiny_chat_model

IDS = [[3, 14, 15, 92, 65, 35, 89], [200, 7, 9, 11, 45, 120, 33]]
FIFTY = torch.randint(0, 280, (50, 9), generator=torch.Generator().manual_seed(5)).tolist()
OPEN = """
import json, sys, torch
from transformers import AutoModelForCausalLM
jobs, ids = json.loads(sys.argv[1]), torch.tensor(json.loads(sys.argv[2]))
for folder, adapter in jobs:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    if adapter:
        from peft import PeftModel
        model = PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        print(json.dumps(model(ids).logits.tolist()))
assert "swift" not in sys.modules
"""


class Trained(NamedTuple):
    base: Path
    run: Path
    checkpoint: Path


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A LoRA run by the command line, far enough to move the logits."""
    folder = tmp_path_factory.mktemp("export")
    base = tiny_chat_model(folder / "base", tied=request.param)
    rows = chat_rows(folder / "rows.jsonl", 24)
    words = ["sft", "--model", str(base), "--dataset", str(rows), "--lr", "0.03"]
    words += ["--max_steps", "8", "--batch_size", "4", "--output_dir", str(folder / "run")]
    assert main(words) == 0
    return Trained(base, folder / "run", folder / "run" / "checkpoint-8")


def opened(*jobs: tuple[Path, Path | None]) -> list[Tensor]:
    """Return the logits of each (model, adapter) in a process that never saw swift."""
    named = [(str(folder), str(adapter or "")) for folder, adapter in jobs]
    done = subprocess.run(
        [sys.executable, "-c", OPEN, json.dumps(named), json.dumps(IDS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [torch.tensor(json.loads(line)) for line in done.stdout.splitlines()]


def test_merged_equals_unmerged_in_plain_libraries(trained: Trained, tmp_path: Path) -> None:
    folders = {k: merge(str(trained.run), tmp_path / k, kind=k) for k in ("safetensors", "bin")}
    for kind, weights in (("safetensors", "model.safetensors"), ("bin", "pytorch_model.bin")):
        names = {p.name for p in folders[kind].iterdir()}
        assert {weights, "config.json", "tokenizer.json", "tokenizer_config.json"} <= names
        assert not any(name.startswith("adapter") for name in names)
    whole = [(folder, None) for folder in folders.values()]
    base, unmerged, *merged = opened(
        (trained.base, None), (trained.base, trained.checkpoint), *whole
    )
    assert float((base - unmerged).abs().max()) >= 0.1
    for logits in merged:
        assert float((logits - unmerged).abs().max()) <= 1e-5


def test_the_engine_says_the_same_merged_applied_and_saved(
    trained: Trained, tmp_path: Path
) -> None:
    """And what transformers says of the merged folder; the base says something else."""
    folder = merge(str(trained.run), tmp_path / "merged")
    greedy = Sampling(temperature=0, max_tokens=12, ignore_eos=True)
    said = {}
    for name, word, how in (
        ("merged", str(trained.run), "merged"),
        ("applied", str(trained.checkpoint), "applied"),
        ("saved", str(folder), "merged"),
        ("base", str(trained.base), "merged"),
    ):
        engine = TorchEngine(served(word), Torch(adapter=how))
        said[name] = [
            d.ids for d in engine.generate([Request(ids=i, sampling=greedy) for i in FIFTY])
        ]
        engine.close()
    theirs = by_transformers(folder)
    for how in ("merged", "applied", "saved"):
        differ = [n for n in range(50) if not same_but_for_ties(said[how][n], *theirs[n])]
        assert differ == [], how
    assert sum(a != b for a, b in zip(said["base"], said["merged"], strict=True)) > 10


def same_but_for_ties(ours: tuple[int, ...], theirs: list[int], logits_TV: Tensor) -> bool:
    """Two best logits within 1e-4 may change places between two ways of computing."""
    for n, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a != b:
            best = logits_TV[n].topk(2).values
            return bool(best[0] - best[1] <= 1e-4)
    return True


def by_transformers(folder: Path) -> list[tuple[list[int], Tensor]]:
    """Return (new ids, their logits) of each prompt, greedy."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    ids = torch.tensor(FIFTY)
    made = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=12,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
    )
    logits = torch.stack(made.logits, dim=1)
    rows = made.sequences[:, ids.shape[1] :].tolist()
    return list(zip(rows, logits, strict=True))


def test_merging_over_something_or_nothing_is_refused(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="nothing to merge"):
        merge(str(trained.base), tmp_path / "a")
    (tmp_path / "b").mkdir()
    with pytest.raises(PlanError, match="nothing is overwritten"):
        merge(str(trained.run), tmp_path / "b")
    assert main(["merge", "--format", "gguf", "--no"]) == 2
    assert main(["merge", str(tmp_path / "none")]) == 2


def test_an_adapter_of_another_model_is_refused(trained: Trained, tmp_path: Path) -> None:
    other = tiny_chat_model(tmp_path / "other", kind="gpt_neox")
    with pytest.raises(PlanError, match="does not have"):
        merge(str(other), tmp_path / "out", adapter=str(trained.run))
    assert not (tmp_path / "out").exists()


def test_adapters_that_are_more_than_products_go_through_peft(
    trained: Trained, tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(trained.base, dtype="float32")
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], use_dora=True)
    with quiet():
        peft = get_peft_model(model, config)
    with torch.no_grad():
        for name, weight in peft.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3)
    peft.save_pretrained(tmp_path / "dora")
    folder = merge(str(trained.base), tmp_path / "out", adapter=str(tmp_path / "dora"))
    with torch.no_grad():
        whole = peft.eval()(torch.tensor(IDS)).logits
    assert float((opened((folder, None))[0] - whole).abs().max()) <= 1e-4


def test_an_adapter_over_the_embedding_is_not_dropped(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = tiny_chat_model(tmp_path / "base", tied=False)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    with quiet():
        peft = get_peft_model(model, LoraConfig(r=4, target_modules=["embed_tokens", "q_proj"]))
    with torch.no_grad():
        for name, weight in peft.named_parameters():
            if "lora_" in name:
                weight.normal_(0, 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT says that it saves the embedding as well
        peft.save_pretrained(tmp_path / "adapter")
    folder = merge(str(base), tmp_path / "out", adapter=str(tmp_path / "adapter"))
    with torch.no_grad():
        whole = peft.eval()(torch.tensor(IDS)).logits
    assert float((opened((folder, None))[0] - whole).abs().max()) <= 1e-4


def test_an_adapter_that_unties_the_head_is_refused(tmp_path: Path) -> None:
    """Written with the base's configuration, one of its two matrices would be lost."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = tiny_chat_model(tmp_path / "base", tied=True)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    config = LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["lm_head"])
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft = get_peft_model(model, config)
        with torch.no_grad():
            for name, weight in peft.named_parameters():
                if "modules_to_save" in name:
                    weight.add_(0.5)
        peft.save_pretrained(tmp_path / "adapter")
        with pytest.raises(PlanError, match="ties"):
            merge(str(base), tmp_path / "out", adapter=str(tmp_path / "adapter"))


def test_broken_adapters_are_named(trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    shutil.copytree(trained.checkpoint, folder)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(PlanError, match="are not there"):
        merge(str(trained.base), tmp_path / "out", adapter=str(folder))
    (folder / "adapter_config.json").write_text("[]")
    with pytest.raises(PlanError, match="no adapter's configuration"):
        merge(str(trained.base), tmp_path / "out", adapter=str(folder))
    other = tiny_chat_model(tmp_path / "wide", hidden=64)
    with pytest.raises(PlanError, match="the base model's"):
        merge(str(other), tmp_path / "out", adapter=str(trained.checkpoint))


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("IA3", "it says IA3, but its weights are of LORA"),
        ("ADALORA", "it says ADALORA, but its weights are of LORA"),
        ("PROMPT_TUNING", "it says PROMPT_TUNING, but its weights are of LORA"),
        ("LORRA", "write `LORA`"),
    ],
)
@pytest.mark.parametrize("how", ["merged", "applied"])
def test_an_adapter_whose_weights_are_of_another_kind_is_refused(
    kind: str, says: str, how: str, trained: Trained, tmp_path: Path
) -> None:
    """PEFT would open it as a fresh adapter, which changes nothing."""
    folder = tmp_path / "adapter"
    shutil.copytree(trained.checkpoint, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "peft_type": kind}))
    with pytest.raises(PlanError, match=says):
        Torch(dtype="float32", adapter=how).open(served(str(trained.base), str(folder)))
    with pytest.raises(PlanError, match=says):
        merge(str(trained.base), tmp_path / "out", adapter=str(folder))
    assert not (tmp_path / "out").exists()


def test_weights_that_are_no_adapter_s_are_refused(trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    shutil.copytree(trained.checkpoint, folder)
    shutil.copyfile(trained.base / "model.safetensors", folder / "adapter_model.safetensors")
    with pytest.raises(PlanError, match="its weights are no adapter's"):
        merge(str(trained.base), tmp_path / "out", adapter=str(folder))
