"""A run in this process: what it writes, what it says, when it stops."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from swift.checkpoint import checkpoints, newest, read_card
from swift.core.env import Ranks
from swift.core.errors import MachineError, PlanError, TrainingError
from swift.core.events import read_events
from swift.plan import Plan, resolve
from swift.recipe import read
from swift.run.folder import claim
from swift.run.given import NOTHING, Given
from swift.run.train import train
from tests.kit import chat_rows, tiny_chat_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    tiny_chat_model(folder / "model")
    chat_rows(folder / "rows.jsonl", 30)
    return folder


class Done(NamedTuple):
    folder: Path
    events: list[dict[str, Any]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["event"] == kind]


def plan(base: Path, out: Path, *flags: tuple[str, object], verb: str = "sft") -> Plan:
    named: list[tuple[str, object]] = [
        ("model", str(base / "model")),
        ("dataset", str(base / "rows.jsonl")),
        ("output_dir", str(out)),
        ("model.dtype", "float32"),
    ]
    said = {name for name, _ in flags}
    return resolve(read(None, [*[n for n in named if n[0] not in said], *flags], verb))


def run(made: Plan, given: Given = NOTHING) -> Done:
    folder, checkpoint = claim(made)
    try:
        train(made, folder, Ranks(), checkpoint, lambda event: None, given)
    finally:
        events = list(read_events(folder / "events.jsonl"))
    return Done(folder, events)


def test_a_run_folder_tells_its_story(base: Path, tmp_path: Path) -> None:
    made = plan(base, tmp_path / "run", ("max_steps", 5), ("save_every", 2))
    done = run(made)
    assert [e["step"] for e in done.of("step")] == [1, 2, 3, 4, 5]
    assert [e["step"] for e in done.of("save")] == [2, 4, 5]
    assert done.events[-1]["reason"] == "finished"
    assert [p.name for p in checkpoints(done.folder)] == ["checkpoint-4", "checkpoint-5"]
    card = read_card(done.folder / "checkpoint-5")
    assert (card.step, card.total_steps, card.plan) == (5, 5, made.digest)
    assert {"recipe.yaml", "plan.json", "events.jsonl"} <= {p.name for p in done.folder.iterdir()}
    modes = {p.stat().st_mode & 0o777 for p in done.folder.rglob("checkpoint-*/**/*.*")}
    assert modes == {(done.folder / "recipe.yaml").stat().st_mode & 0o777}
    start = done.of("start")[0]
    assert 0 < start["trainable"] < start["numel"]


def test_every_step_says_what_it_did_and_cost(base: Path, tmp_path: Path) -> None:
    done = run(plan(base, tmp_path / "run", ("max_steps", 3)))
    for event in done.of("step"):
        assert event["loss"] > 0
        assert event["grad_norm"] > 0
        assert event["cpu_s"] > 0
        assert event["tokens"] > event["samples"] > 0
        assert 0 < event["learning_rate"] <= 2.5e-3


def test_the_loss_falls(base: Path, tmp_path: Path) -> None:
    done = run(plan(base, tmp_path / "run", ("epochs", 10), ("lr", 1e-2), ("tuner", "full")))
    losses = [e["loss"] for e in done.of("step")]
    assert losses[-1] < 0.7 * losses[0]


def test_held_out_rows_are_validated_and_not_trained(base: Path, tmp_path: Path) -> None:
    flags = (("data.validation", 0.2), ("max_steps", 4), ("eval_every", 2))
    done = run(plan(base, tmp_path / "run", *flags))
    assert [e["step"] for e in done.of("eval")] == [2, 4]
    assert all(e["loss"] > 0 for e in done.of("eval"))


def test_dpo_reports_its_margins_and_starts_at_log_two(base: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"say {i}", "chosen": "yes yes", "rejected": "no"} for i in range(8)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    for tuner in ("lora", "full"):
        flags = (("dataset", str(path)), ("tuner", tuner), ("max_steps", 6), ("lr", 1e-2))
        done = run(plan(base, tmp_path / tuner, *flags, verb="dpo"))
        first, *_, last = done.of("step")
        assert first["loss"] == pytest.approx(0.693147, abs=1e-5)
        assert last["loss"] < first["loss"]
        assert last["rewards/accuracies"] > 0.5
        assert last["rewards/margins"] > 0


def test_numbers_that_go_wrong_stop_the_run_and_say_where(base: Path, tmp_path: Path) -> None:
    flags = (("lr", 1e30), ("tuner", "full"), ("max_steps", 9), ("save_every", 1))
    made = plan(base, tmp_path / "run", *flags)
    with pytest.raises(TrainingError, match=r"step \d: .*not finite.*rows\.jsonl:\d+"):
        run(made)
    events = list(read_events(tmp_path / "run" / "events.jsonl"))
    assert (events[-1]["reason"], events[-1]["exit_code"]) == ("failed", 4)


def test_a_full_disk_is_known_before_the_first_step(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(MachineError, match="checkpoints and one being written take"):
        run(plan(base, tmp_path / "run", ("max_steps", 2)))
    assert not [e for e in read_events(tmp_path / "run" / "events.jsonl") if e["event"] == "step"]


def test_another_recipe_in_the_folder_is_refused(base: Path, tmp_path: Path) -> None:
    run(plan(base, tmp_path / "run", ("max_steps", 1)))
    with pytest.raises(PlanError, match="a run of another recipe; nothing is overwritten"):
        claim(plan(base, tmp_path / "run", ("max_steps", 2)))
    with pytest.raises(PlanError, match="its run is finished"):
        claim(plan(base, tmp_path / "run", ("max_steps", 1)))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(PlanError, match="no run's"):
        claim(plan(base, tmp_path / "mine"))


def test_runs_without_a_name_get_the_next_number(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = plan(base, Path("x")).model_copy(update={"output_dir": ""})
    assert [claim(made)[0].name for _ in range(2)] == ["model-sft-001", "model-sft-002"]


def test_a_run_folder_is_a_model_by_its_newest_checkpoint(base: Path, tmp_path: Path) -> None:
    flags = (("tuner", "full"), ("max_steps", 2), ("save_every", 1))
    first = run(plan(base, tmp_path / "full", *flags))
    again = plan(base, tmp_path / "more", ("model", str(first.folder)), ("max_steps", 1))
    assert again.model.folder == str((first.folder / "checkpoint-2").resolve())
    assert len(run(again).of("step")) == 1
    adapter = run(plan(base, tmp_path / "lora", ("max_steps", 1)))
    with pytest.raises(PlanError, match="is an adapter"):
        plan(base, tmp_path / "x", ("model", str(adapter.folder)))


def test_changed_data_is_not_gone_on_with(base: Path, tmp_path: Path) -> None:
    rows = shutil.copy(base / "rows.jsonl", tmp_path / "rows.jsonl")
    made = plan(base, tmp_path / "run", ("dataset", str(rows)), ("max_steps", 3))
    done = run(made)
    Path(rows).write_text(Path(rows).read_text().replace("red", "dark"))
    last = newest(done.folder)
    with pytest.raises(PlanError, match="the data changed since this checkpoint"):
        train(made, done.folder, Ranks(), last, lambda event: None)


def test_live_rows_and_a_live_model_give_the_same_losses(base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    flags = (("max_steps", 4), ("tuner", "full"), ("lr", 1e-3))
    filed = run(plan(base, tmp_path / "files", *flags))
    rows = [json.loads(line) for line in (base / "rows.jsonl").read_text().splitlines()]
    model = AutoModelForCausalLM.from_pretrained(base / "model", dtype=torch.float32)
    given = Given(models={"policy": model}, rows=rows)
    live = run(plan(base, tmp_path / "live", *flags), given)
    assert [e["loss"] for e in live.of("step")] == [e["loss"] for e in filed.of("step")]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT's own
def test_a_live_peft_model_is_trained_as_it_is(base: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base / "model", dtype=torch.float32)
    mine = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    before = {n: p.clone() for n, p in mine.named_parameters()}
    done = run(plan(base, tmp_path / "run", ("max_steps", 2)), Given(models={"policy": mine}))
    config = json.loads((done.folder / "checkpoint-2" / "adapter_config.json").read_text())
    assert (config["r"], config["target_modules"]) == (2, ["q_proj"])
    moved = {n for n, p in mine.named_parameters() if not torch.equal(p, before[n])}
    assert moved
    assert all("lora_" in n for n in moved)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_trains_too(dtype: str, base: Path, tmp_path: Path) -> None:
    for tuner in ("lora", "full"):
        flags = (("model.dtype", dtype), ("max_steps", 3), ("tuner", tuner))
        done = run(plan(base, tmp_path / tuner, *flags))
        assert all(e["loss"] > 0 for e in done.of("step"))


def test_checkpointed_activations_change_no_number(base: Path, tmp_path: Path) -> None:
    losses = []
    for again in (False, True):
        flags = (("gradient_checkpointing", again), ("max_steps", 3))
        done = run(plan(base, tmp_path / str(again), *flags))
        losses.append([e["loss"] for e in done.of("step")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_attention_that_the_model_lacks_is_said(base: Path, tmp_path: Path) -> None:
    tiny_chat_model(tmp_path / "gemma2", kind="gemma2")
    made = plan(base, tmp_path / "a", ("model", str(tmp_path / "gemma2")), ("max_steps", 1))
    assert made.attention == "eager"  # said before it begins
    assert run(made).of("start")[0]["attention"] == "eager"
    silent = run(plan(base, tmp_path / "b", ("max_steps", 1)))
    assert silent.of("start")[0]["attention"] == "sdpa"
    assert not [e for e in silent.of("note") if "attention" in e["text"]]
