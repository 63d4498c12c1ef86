"""A reward model's run: what is saved is opened by plain libraries, gone on with, and built on."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from swift import prepare_model, train, train_dpo, train_rm
from swift.checkpoint import newest, served
from swift.cli.main import main
from swift.core.env import Ranks
from swift.core.errors import PlanError
from swift.core.events import read_events
from swift.dataset.encoded import Encoded
from swift.engine.torch import Torch
from swift.hub.ref import Ref
from swift.plan.value import read_plan
from swift.run.export import merge
from swift.run.publish import bundle
from swift.run.save import digest_of, restore
from swift.run.train import place
from swift.seam.collate import Lay, collate
from tests.kit import tiny_chat_model, tiny_model

IDS = [[3, 14, 15, 92, 65, 35, 89], [100, 7, 9], [45, 120, 33, 60, 61]]
PAD = 0
REF = Ref(id="me/judge")
OPEN = """
import json, sys, torch
from transformers import AutoModelForSequenceClassification as Auto, AutoTokenizer
folder, base, ids = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
if base:
    from peft import PeftModel
    model = Auto.from_pretrained(base, num_labels=1, dtype="float32", pad_token_id=0)
    model = PeftModel.from_pretrained(model, folder)
else:
    model = Auto.from_pretrained(folder, dtype="float32")
batch = AutoTokenizer.from_pretrained(folder).pad({"input_ids": ids}, return_tensors="pt")
with torch.no_grad():
    scores = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
print(json.dumps(scores.tolist()))
assert "swift" not in sys.modules
"""


class Trained(NamedTuple):
    base: Path
    data: Path
    run: Path
    history: Any

    @property
    def checkpoint(self) -> Path:
        return self.run / "checkpoint-4"


def pair_rows(path: Path, count: int) -> Path:
    draw, words = random.Random(1), ["red", "blue", "tall", "stone", "river", "light", "seven"]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            ask, good, bad = (" ".join(draw.choices(words, k=draw.randint(2, 8))) for _ in "abc")
            row = {"prompt": ask, "chosen": f"{good}.", "rejected": bad, "margin": number % 3}
            file.write(json.dumps(row) + "\n")
    return path


@pytest.fixture(scope="module", params=["full", "lora"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("rm")
    base = tiny_chat_model(folder / "base")
    data = pair_rows(folder / "rows.jsonl", 24)
    options: dict[str, Any] = {"batch_size": 4, "max_steps": 4, "save_every": 2, "lr": 0.01}
    result = train_rm(
        str(base), str(data), tuner=request.param, output_dir=str(folder / "run"), **options
    )
    return Trained(base, data, result.run, result.history)


def said(run: Path) -> list[float]:
    """Return the scores of `IDS` by the run's own model, its newest state restored."""
    plan, last = read_plan(run), newest(run)
    assert last is not None
    policy, _ = place(plan, Ranks())
    restore(policy, last, Ranks(), plan.device)
    sizes = [len(ids) for ids in IDS]
    rows = Encoded(
        ids=np.concatenate(IDS).astype(np.int32),
        supervised=np.ones(sum(sizes), dtype=np.bool_),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        sides=1,
        origins=[""] * len(IDS),
    )
    batch = collate(rows, range(len(IDS)), Lay(pad_id=PAD, scored=True))
    (out,) = policy.no_grad([batch], "policy", frozenset({"score"}))
    assert out.score_N is not None
    return [float(score) for score in out.score_N]


def opened(folder: Path, base: Path | None) -> list[float]:
    """Return the scores of `IDS` in a process that never saw swift."""
    words = [str(folder), str(base or ""), json.dumps(IDS)]
    made = subprocess.run(
        [sys.executable, "-c", OPEN, *words], capture_output=True, text=True, timeout=120
    )
    assert made.returncode == 0, made.stderr
    found: list[float] = json.loads(made.stdout)
    return found


def is_adapter(trained: Trained) -> bool:
    return (trained.checkpoint / "adapter_config.json").is_file()


def test_plain_libraries_open_it_and_say_the_same(trained: Trained) -> None:
    base = trained.base if is_adapter(trained) else None
    assert opened(trained.checkpoint, base) == pytest.approx(said(trained.run), abs=1e-5)


def test_it_learns_what_is_reported_in_words_of_the_field(trained: Trained) -> None:
    names = {"accuracy", "margin", "mean_reward", "rewards/chosen", "rewards/rejected"}
    assert all(names <= step.keys() for step in trained.history)
    assert trained.history[-1]["loss"] != pytest.approx(trained.history[0]["loss"], rel=1e-3)


def test_a_run_goes_on_from_its_middle(trained: Trained, tmp_path: Path) -> None:
    calm = digest_of(trained.checkpoint)
    again = tmp_path / "again"
    shutil.copytree(trained.run, again)
    shutil.rmtree(again / "checkpoint-4")
    events = again / "events.jsonl"
    lines = events.read_text(encoding="utf-8").splitlines(keepends=True)
    events.write_text("".join(x for x in lines if '"end"' not in x), encoding="utf-8")
    assert main(["train", "--resume", str(again)]) == 0
    assert digest_of(again / "checkpoint-4") == calm


def test_a_merged_adapter_is_a_whole_reward_model(trained: Trained, tmp_path: Path) -> None:
    if not is_adapter(trained):
        with pytest.raises(PlanError, match="nothing to merge"):
            merge(str(trained.run), tmp_path / "merged")
        return
    folder = merge(str(trained.run), tmp_path / "merged")
    assert opened(folder, None) == pytest.approx(said(trained.run), abs=1e-5)


def test_another_run_begins_with_its_head(trained: Trained, tmp_path: Path) -> None:
    """A step so small that it changes nothing leaves what the first run ended with."""
    start = trained.run
    if is_adapter(trained):
        start = merge(str(trained.run), tmp_path / "merged")
    result = train_rm(
        str(start),
        str(trained.data),
        tuner="full",
        max_steps=1,
        lr=1e-12,
        output_dir=str(tmp_path / "next"),
    )
    assert said(result.run) == pytest.approx(said(trained.run), abs=1e-5)


def test_it_is_no_model_to_talk_with(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="it scores answers, and has no head for words"):
        Torch().open(served(str(trained.run)))
    if not is_adapter(trained):
        for method in (train, train_dpo):
            with pytest.raises(PlanError, match="it scores answers"):
                method(str(trained.run), dataset=str(trained.data), output_dir=str(tmp_path / "x"))
        assert not (tmp_path / "x").exists()


def test_its_page_on_a_hub_opens_a_classifier(trained: Trained) -> None:
    made = bundle(str(trained.run), REF, hub="huggingface")
    page = made.parcel.files["README.md"]
    assert isinstance(page, bytes)
    text = page.decode()
    assert "pipeline_tag: text-classification" in text
    assert "swift chat" not in text and "ForCausalLM" not in text
    if not is_adapter(trained):  # its base is a folder of this machine
        assert "ModelForSequenceClassification.from_pretrained(place, num_labels=1)" in text


def test_prepare_model_opens_a_classifier(trained: Trained) -> None:
    model, _ = prepare_model(str(trained.run))
    assert model.config.num_labels == 1


def test_padded_rows_teach_the_same(trained: Trained, tmp_path: Path) -> None:
    plan = read_plan(trained.run)
    padded = train_rm(
        str(trained.base),
        str(trained.data),
        tuner=plan.recipe.tuner.name,
        output_dir=str(tmp_path / "padded"),
        padding_free=False,
        batch_size=4,
        max_steps=4,
        lr=0.01,
    )
    assert plan.end_to_end and not read_plan(padded.run).end_to_end
    for one, other in zip(trained.history, padded.history, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    said_aloud = [e.get("text", "") for e in read_events(trained.run / "events.jsonl")]
    assert not any("padded rows" in text for text in said_aloud)


def test_a_live_classifier_is_trained_in_place(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    base = tiny_chat_model(tmp_path / "base")
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    before = model.score.weight.detach().clone()
    data = pair_rows(tmp_path / "rows.jsonl", 8)
    options = {"max_steps": 2, "lr": 0.01, "output_dir": str(tmp_path / "run")}
    result = train_rm(model, str(data), tuner="full", **options)
    assert result.model is model
    assert (model.score.weight - before).abs().max() > 1e-3


def test_a_live_model_of_words_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_chat_model(tmp_path / "base"))
    data = pair_rows(tmp_path / "rows.jsonl", 8)
    with pytest.raises(PlanError, match="AutoModelForSequenceClassification"):
        train_rm(model, str(data), output_dir=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_an_architecture_without_such_a_class_is_named(tmp_path: Path) -> None:
    base = tiny_chat_model(tmp_path / "base")
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    made = tiny_model(tmp_path / "olmoe", kind="olmoe", vocabulary=config["vocab_size"])
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(base / name, made / name)
    data = pair_rows(tmp_path / "rows.jsonl", 8)
    with pytest.raises(PlanError, match="has no OlmoeForSequenceClassification"):
        train_rm(str(made), str(data), output_dir=str(tmp_path / "run"))


def test_rm_deletes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    assert main(["rm", str(tmp_path / "run")]) == 2
    assert "trains a reward model and deletes nothing" in capsys.readouterr().err
    assert (tmp_path / "run").is_dir()
