"""Runs whose template is a wire, or is not what inference asks."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from swift.chat.message import Message
from swift.chat.speaker import Speaker
from swift.checkpoint import served
from swift.cli.main import main
from swift.core.env import Ranks
from swift.core.errors import DataError, PlanError
from swift.engine import Request, Sampling, engines
from swift.model.voice import called
from swift.plan import Plan, resolve
from swift.recipe import read
from swift.run.data import prepare
from swift.run.folder import claim
from swift.run.train import train
from tests.kit import CHATML, chat_rows, tiny_chat_model


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with rows, and a model without a chat template."""
    monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "cache"))
    config = tiny_chat_model(tmp_path / "model") / "tokenizer_config.json"
    said = json.loads(config.read_text())
    del said["chat_template"]
    config.write_text(json.dumps(said))
    chat_rows(tmp_path / "rows.jsonl", 4)
    return tmp_path


def plan(bare: Path, template: str, model: str = "") -> Plan:
    named: list[tuple[str, object]] = [
        ("model", model or str(bare / "model")),
        ("dataset", str(bare / "rows.jsonl")),
        ("output_dir", str(bare / "out")),
        ("model.dtype", "float32"),
        ("model.template", template),
        ("max_steps", 1),
    ]
    return resolve(read(None, named, "sft"))


def test_a_checkpoint_speaks_the_wire_that_it_was_trained_with(bare: Path) -> None:
    folder, checkpoint = claim(made := plan(bare, "chatml"))
    train(made, folder, Ranks(), checkpoint, lambda event: None)
    voice = Speaker.load(folder / "checkpoint-1")
    ids = voice.chat([Message(role="user", content="a")])
    text = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"
    assert voice.tokenizer.decode(ids) == text
    assert list((bare / "cache" / "templates").iterdir())


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("auto", "has no chat template"),
        ("chatmll", "no wire `chatmll`"),
        ("llama3", r"the wire `llama3` ends an answer with `<\|eot_id\|>`, a token that"),
        ("odd.jinja", "goes on with"),
    ],
)
def test_a_template_that_will_not_do_is_told_before_any_step(
    bare: Path, template: str, what: str
) -> None:
    odd = bare / "odd.jinja"
    odd.write_text(CHATML.replace("assistant\n", "assistant\nSo: "))
    with pytest.raises(PlanError, match=what) as caught:
        plan(bare, str(odd) if template == odd.name else template)
    (problem,) = caught.value.problems
    assert problem.where == "model.template"
    assert problem.fix


def test_a_model_known_by_name_speaks_its_familys_wire_unasked(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = named(bare, "qwen/Qwen-7B-Chat", monkeypatch)
    assert made.template == "qwen"
    assert made.verdict.startswith("qwen (its family's: the tokenizer brings none); spans verified")
    assert f"template  {made.verdict}" in made.describe()
    folder, checkpoint = claim(made)
    events: list[dict[str, Any]] = []
    train(made, folder, Ranks(), checkpoint, events.append)
    (told,) = [event for event in events if event["event"] == "template"]
    assert (told["text"], told["wrong"]) == (made.verdict, {})
    assert "one turn" in told["taken"]
    assert served("qwen/Qwen-7B-Chat").template == "qwen"


def test_a_wire_that_the_type_of_a_model_leads_to_is_named(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = bare / "model" / "config.json"
    config.write_text(config.read_text().replace('"llama"', '"mamba"'))
    said = "the wire `default` (its model_type is mamba)"
    assert called(bare / "model", "auto", "auto") == said
    assert main(["show", str(bare / "model")]) == 0
    assert f"template    the tokenizer brings none; {said}" in capsys.readouterr().out
    (bare / "model" / "chat_template.jinja").write_text(CHATML)
    assert called(bare / "model", "auto", "auto") == "the model's own"


def test_a_model_known_by_name_with_jinja_of_its_own_speaks_that(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / "model" / "chat_template.jinja").write_text(CHATML)
    assert named(bare, "qwen/Qwen-7B-Chat", monkeypatch).template == "auto"


def test_the_name_of_a_template_is_no_part_of_what_trying_it_brought(bare: Path) -> None:
    made = plan(bare, "chatml")
    assert made.model_copy(update={"verdict": ""}).digest == made.digest
    assert made.model_copy(update={"template": "qwen"}).digest != made.digest


def named(bare: Path, id: str, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Plan the bare model under a name of the catalogue, out of a local hub."""
    place = bare / "hub" / "models" / id
    place.parent.mkdir(parents=True)
    (bare / "model").rename(place)
    (bare / "model").symlink_to(place)
    monkeypatch.setenv("SWIFT_HUB", (bare / "hub").as_uri())
    return plan(bare, "auto", id)


def test_an_answer_ends_at_inference_where_it_was_trained_to_end(bare: Path) -> None:
    """The base model's end of text is another token than the wire's end of a turn."""
    config = bare / "model" / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "eos_token": "<|endoftext|>"}))
    (bare / "model" / "generation_config.json").write_text('{"eos_token_id": 0}')
    made = plan(bare, "chatml")
    folder, checkpoint = claim(made)
    train(made, folder, Ranks(), checkpoint, lambda event: None)
    last = folder / "checkpoint-1"
    voice = Speaker.load(last)
    assert voice.stop_ids == {0, 2}
    said = json.loads((last / "generation_config.json").read_text())
    assert said["eos_token_id"] == [0, 2]  # so that other programs stop there too
    prompt = [Message(role="user", content="a")]
    with closing(engines.get("torch")().open(served(str(folder)))) as engine:
        bias = {2: 1000.0}
        ask = Request(ids=engine.speaker.chat(prompt), sampling=Sampling(logit_bias=bias))
        (answer,) = engine.generate([ask])
    assert (answer.finish, answer.ids, answer.text) == ("stop", (2,), "")


def test_a_wires_further_ends_end_answers_wherever_its_checkpoint_goes(bare: Path) -> None:
    """`###` is no token of minigpt4's: it is looked for in the text."""
    made = plan(bare, "minigpt4")
    folder, checkpoint = claim(made)
    train(made, folder, Ranks(), checkpoint, lambda event: None)
    moved = bare / "elsewhere"
    shutil.copytree(folder / "checkpoint-1", moved)
    with closing(engines.get("torch")().open(served(str(moved)))) as engine:
        speaker = engine.speaker
        assert speaker.stops == ("###",)
        (hash_,) = speaker.tokenizer.encode("#")
        ask = Request(ids=speaker.text("a"), sampling=Sampling(logit_bias={hash_: 1000.0}))
        (answer,) = engine.generate([ask])
        deaf = ask.sampling.model_copy(update={"ignore_eos": True, "max_tokens": 5})
        (other,) = engine.generate([Request(ids=ask.ids, sampling=deaf)])
    assert (answer.finish, answer.ids, answer.text) == ("stop", (hash_,) * 3, "")
    assert (other.finish, other.text) == ("length", "#####")


OPENED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def test_an_answer_that_the_past_writes_otherwise_is_not_trained_and_told(bare: Path) -> None:
    """Its prompt ended with <think>, which the template writes of the last answer alone."""
    (bare / "odd.jinja").write_text(OPENED)
    turns = [{"role": role, "content": "a"} for role in ("user", "assistant") * 2]
    (bare / "rows.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    made = plan(bare, str(bare / "odd.jinja"))
    events: list[dict[str, Any]] = []
    prepared = prepare(made, lambda event, **more: events.append({"event": event, **more}))
    (told,) = [event["text"] for event in events if event["event"] == "warning"]
    assert told.startswith("1 answers in 1 conversations are not trained")
    ids, trained = prepared.train.sequence(0, 0)
    said = Speaker.load(bare / "model", "chatml").tokenizer.decode(ids[trained].tolist())
    assert said == "<think>\na<|im_end|>\n"


def test_rows_with_tools_stop_a_run_whose_template_writes_none(bare: Path) -> None:
    turns = [{"role": role, "content": "a"} for role in ("user", "assistant")]
    row = {"messages": turns, "tools": [{"type": "function", "function": {"name": "find"}}]}
    (bare / "rows.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"tools-not-taken: 1 \(rows.jsonl:1 ") as caught:
        prepare(plan(bare, "chatml"), lambda event, **more: None)
    (problem,) = caught.value.problems
    assert problem.where == "dataset"
    assert problem.fix.startswith("model.template: ")
