"""What goes up is what others can use, and nothing that is the user's alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swift.checkpoint import Card
from swift.core import yaml
from swift.core.errors import DataError, PlanError, UserError
from swift.hub.parcel import MARK
from swift.hub.ref import Ref
from swift.run.card import Base, Score, Story, data_card, model_card
from swift.run.public import without_paths
from swift.run.publish import Bundle, bundle

SECRET = "sk-very-secret"
REF = Ref(id="me/mine")


def card(folder: Path, **more: Any) -> Card:
    """Return what swift.json says of an adapter whose base was fetched from Hugging Face."""
    base = folder / "models--acme--base" / "snapshots" / ("a" * 40)
    base.mkdir(parents=True, exist_ok=True)
    (base / "README.md").write_text("---\nlicense: mit\n---\nbase\n")
    (base / "config.json").write_text('{"architectures": ["Qwen3ForCausalLM"]}')
    said: dict[str, Any] = {
        "swift": "0.1.0",
        "step": 4,
        "total_steps": 9,
        "model": "acme/base",
        "base": str(base),
        "revision": "a" * 40,
        "method": "sft",
        "tuner": {"name": "lora", "rank": 8},
        "template": "t",
        "data": "d",
        "plan": "p",
        "world": 1,
        "recipe": {
            "dataset": [{"name": str(folder / "customers.jsonl")}],
            "train": {"seed": 7, "schedule": "cosine", "warmup": 0.03},
            "serve": {"api_key": SECRET},
            "output_dir": str(folder / "run"),
        },
    }
    return Card.model_validate({**said, **more})


def a_run(folder: Path, **more: Any) -> Path:
    """Write a run with one checkpoint of an adapter, and return the run."""
    run = folder / "run"
    at = run / "checkpoint-4"
    (at / "state").mkdir(parents=True)
    made = card(folder, **more)
    (folder / "customers.jsonl").write_text("{}\n")
    (at / "swift.json").write_text(made.model_dump_json())
    adapter = {"peft_type": "LORA", "base_model_name_or_path": made.base, "revision": None}
    (at / "adapter_config.json").write_text(json.dumps(adapter))
    (at / "adapter_model.safetensors").write_bytes(b"weights")
    (at / "tokenizer.json").write_text('{"path": "/in/a/vocabulary"}')
    (at / "state" / "rank-0.safetensors").write_bytes(b"state")
    (at / "optimizer.pt").write_bytes(b"state")
    (at / "training_args.bin").write_bytes(b"paths")
    events = [
        {"event": "step", "step": 1, "loss": 3.5},
        {"event": "step", "step": 4, "loss": 2.25},
        {"event": "eval", "step": 4, "loss": 2.5},
        {"event": "step", "step": 5, "loss": 1.0},
    ]
    (run / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    (run / "plan.json").write_text('{"learning_rate": 1e-4, "sizes": {"batch": 16}}')
    return run


def all_text(made: Bundle) -> str:
    """Return all that goes up, as text."""
    files = made.parcel.files.values()
    whole = b"\n".join(f if isinstance(f, bytes) else f.read_bytes() for f in files)
    return whole.decode()


def page(made: Bundle) -> tuple[dict[str, Any], str]:
    """Return the front matter and the text of a page."""
    written = made.parcel.files["README.md"]
    assert isinstance(written, bytes)
    return front(written.decode())


def front(text: str) -> tuple[dict[str, Any], str]:
    _, head, body = text.split("---\n", 2)
    document = yaml.parse(head, name="README.md")
    assert not document.problems
    return dict(document.tree), body


def test_of_a_run_goes_up_what_opens_it_and_no_state(tmp_path: Path) -> None:
    made = bundle(str(a_run(tmp_path)), REF, hub="huggingface")
    assert sorted(made.parcel.files) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "swift.json",
        "tokenizer.json",
    ]
    assert set(made.left_out) == {"state/", "optimizer.pt", "training_args.bin"}


def test_no_path_of_the_machine_and_no_key_goes_up(tmp_path: Path) -> None:
    made = bundle(str(a_run(tmp_path)), REF, hub="huggingface")
    text = all_text(made)
    assert str(tmp_path) not in text and SECRET not in text
    assert str(tmp_path / "customers.jsonl") in made.replaced
    assert "customers.jsonl" in text


def test_the_base_goes_up_by_its_public_name_and_commit(tmp_path: Path) -> None:
    made = bundle(str(a_run(tmp_path)), REF, hub="huggingface")
    config = made.parcel.files["adapter_config.json"]
    assert isinstance(config, bytes)
    said = json.loads(config)
    assert said["base_model_name_or_path"] == "acme/base" and said["revision"] == "a" * 40
    card = made.parcel.files["swift.json"]
    assert isinstance(card, bytes)
    assert Card.model_validate_json(card).base == "acme/base"


def test_the_commit_of_one_hub_is_not_pinned_on_the_other(tmp_path: Path) -> None:
    made = bundle(str(a_run(tmp_path)), REF, hub="modelscope")
    config = made.parcel.files["adapter_config.json"]
    assert isinstance(config, bytes)
    assert json.loads(config)["revision"] is None


def test_a_page_says_what_the_hubs_read(tmp_path: Path) -> None:
    head, text = page(bundle(str(a_run(tmp_path)), REF, hub="huggingface"))
    assert head == {
        "base_model": "acme/base",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "license": "mit",
        "pipeline_tag": "text-generation",
        "tags": ["swift", "sft", "lora"],
    }
    assert MARK in text and "AutoPeftModelForCausalLM" in text


def test_a_page_tells_the_losses_up_to_its_own_step(tmp_path: Path) -> None:
    _, text = page(bundle(str(a_run(tmp_path)), REF, hub="huggingface"))
    assert "| Loss, first step | 3.5000 |" in text
    assert "| Loss, last step | 2.2500 |" in text
    assert "| Loss, evaluated | 2.5000 |" in text
    assert "| Steps | 4 of 9 |" in text
    assert "| Peak learning rate | 0.0001 |" in text
    assert "| Samples in a step | 16 |" in text


def test_a_page_tells_the_scores_of_its_own_checkpoint(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    for name, step, share in (("a", 4, 0.75), ("b", 3, 0.125)):
        said = {
            "adapter": str(run / f"checkpoint-{step}"),
            "dataset": "/home/me/orders.jsonl",
            "score": {"name": "exact_match"},
            "rows": 20,
            "share": share,
            "interval_95": [0.5, 0.9],
        }
        (run / f"eval-{name}").mkdir()
        (run / f"eval-{name}" / "eval.json").write_text(json.dumps(said))
    _, text = page(bundle(str(run), REF, hub="huggingface"))
    assert "| orders.jsonl | exact_match | 20 | 75.0% | 50.0% to 90.0% |" in text
    assert "12.5%" not in text and "/home" not in text


def test_a_base_that_others_lack_is_said_aloud(tmp_path: Path) -> None:
    private = tmp_path / "my-model"
    private.mkdir()
    made = bundle(
        str(a_run(tmp_path, model=str(private), base=str(private), revision="")),
        REF,
        hub="huggingface",
    )
    head, text = page(made)
    assert "base_model" not in head and "`my-model`" in text and "peft import" not in text
    assert "swift merge" in made.notes[0]
    assert str(tmp_path) not in all_text(made)


def test_a_card_of_the_user_s_own_goes_up_as_it_is(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    own = run / "checkpoint-4" / "README.md"
    own.write_text("my words")
    assert bundle(str(run), REF, hub="huggingface").parcel.files["README.md"] == own
    own.write_text(f"{MARK}\nof an earlier push")
    assert isinstance(bundle(str(run), REF, hub="huggingface").parcel.files["README.md"], bytes)


def whole_model(folder: Path) -> Path:
    folder.mkdir()
    config = {"architectures": ["Qwen3ForCausalLM"], "_name_or_path": "/home/me/secret/model-x"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"w")
    (folder / "pytorch_model.bin").write_bytes(b"w")
    (folder / "trainer_state.json").write_text("{}")
    return folder


def test_a_model_s_folder_goes_up_without_doubles_and_paths(tmp_path: Path) -> None:
    made = bundle(str(whole_model(tmp_path / "model")), REF, hub="huggingface")
    assert sorted(made.parcel.files) == ["README.md", "config.json", "model.safetensors"]
    assert made.replaced == ("/home/me/secret/model-x",)
    assert "/home" not in all_text(made)
    assert page(made)[0]["library_name"] == "transformers"


def test_a_model_that_lacks_a_shard_does_not_go_up(tmp_path: Path) -> None:
    folder = whole_model(tmp_path / "model")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(PlanError, match="lacks model-00001-of-00002"):
        bundle(str(folder), REF, hub="huggingface")


def test_a_merged_model_tells_of_the_run_beside_it(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    head, text = page(bundle(str(whole_model(run / "merged")), REF, hub="huggingface"))
    assert head["base_model_relation"] == "finetune" and head["base_model"] == "acme/base"
    assert "| Method | sft |" in text


def test_a_link_that_leads_out_stays_here(tmp_path: Path) -> None:
    (tmp_path / "private.jsonl").write_text('{"a": 1}\n')
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.jsonl").write_text('{"a": 1}\n')
    (data / "other.jsonl").symlink_to(tmp_path / "private.jsonl")
    (data / ".env").write_text("KEY=1")
    made = bundle(str(data), REF, hub="huggingface")
    assert sorted(made.parcel.files) == ["README.md", "train.jsonl"]
    assert made.left_out == (".env", "other.jsonl")


def test_a_data_set_counts_its_rows_and_names_its_columns(tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    file.write_text('{"prompt": "a", "response": "b"}\n' * 3)
    made = bundle(str(file), REF, hub="huggingface")
    assert made.parcel.ref.kind == "datasets"
    head, text = page(made)
    assert head == {"size_categories": ["n<1K"], "tags": ["swift"]}
    assert "3 rows with `prompt`, `response`." in text


def test_a_data_set_with_a_broken_line_does_not_go_up(tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    file.write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(DataError, match=r"orders\.jsonl:2"):
        bundle(str(file), REF, hub="huggingface")


@pytest.mark.parametrize(
    ("rows", "size"),
    [(999, "n<1K"), (1000, "1K<n<10K"), (2_000_000, "1M<n<10M"), (10**9, "n>100M")],
)
def test_sizes_are_said_as_the_hub_says_them(rows: int, size: str) -> None:
    assert front(data_card("me/x", rows, ["a"], {}))[0]["size_categories"] == [size]


def test_what_is_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no file and no folder"):
        bundle(str(tmp_path / "gone"), REF, hub="huggingface")
    with pytest.raises(UserError, match="no run, no model and no data set"):
        bundle(str(tmp_path), REF, hub="huggingface")
    with pytest.raises(PlanError, match="no model"):
        bundle(str(tmp_path), REF, hub="huggingface", kind="model")


def test_a_cell_cannot_break_its_table() -> None:
    score = Score(data="a|b\nc", name="n", rows=1, share=1.0, interval=(0.0, 1.0))
    base = Base(id="acme/base", public=True)
    text = model_card(Story(id="me/x", hub="huggingface", kind="whole", base=base, scores=[score]))
    assert "| a\\|b c | n | 1 |" in text


@pytest.mark.parametrize(
    "text",
    [
        "/home/me/model",
        "~/models/mine",
        "file:///srv/hub",
        "C:\\Users\\me\\model",
        "/data/x/",
        "/home/a b/c",
    ],
)
def test_a_path_becomes_its_last_name(text: str) -> None:
    told: set[str] = set()
    bare = without_paths({"a": [text]}, told)["a"][0]
    assert told == {text} and "/" not in bare and "\\" not in bare and bare


@pytest.mark.parametrize(
    "text",
    ["Qwen/Qwen3-8B", "</s>", "<|/think|>", "/", "//", "a/b c/d", "{% if a/b %}", "text\n/a/b"],
)
def test_what_is_no_path_stays(text: str) -> None:
    assert without_paths(text, set()) == text


@pytest.mark.parametrize(
    ("said", "goes"),
    [
        ("clients/acme-merger.jsonl#10", "acme-merger.jsonl#10"),
        ("clients/acme-merger.JSON.gz", "acme-merger.JSON.gz"),
        ("clients/acme.csv:part/other#10", "acme.csv:part/other#10"),
        ("clients\\acme.parquet", "acme.parquet"),
        ("../acme/rows#500", "rows#500"),
        ("~/acme", "acme"),
        ("hf::org/rows@v1:part#10", "hf::org/rows@v1:part#10"),
        ("org/rows#10", "org/rows#10"),
        ("https://host/x.jsonl", "https://host/x.jsonl"),
        ("swift/self-cognition", "swift/self-cognition"),
    ],
)
def test_a_path_of_data_loses_its_folders_wherever_it_is_pushed_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, goes: str
) -> None:
    monkeypatch.chdir(tmp_path)
    told: set[str] = set()
    assert without_paths({"name": said}, told) == {"name": goes}
    assert told == ({said} if goes != said else set())


def test_neither_swift_json_nor_the_page_tells_a_folder_of_data(tmp_path: Path) -> None:
    recipe = {"dataset": [{"name": "clients/acme-merger.jsonl#10"}, {"name": "clients/b.json"}]}
    made = bundle(str(a_run(tmp_path, recipe=recipe)), REF, hub="huggingface")
    assert "clients" not in all_text(made)
    head, text = page(made)
    assert "acme-merger.jsonl#10, b.json" in text and "datasets" not in head


def test_of_a_plug_in_go_up_its_name_and_its_digest(tmp_path: Path) -> None:
    place = str(tmp_path / "mine" / "loss.py")
    plugins = [
        {"said": "mine/loss.py", "place": place, "digest": "d1"},
        {"said": "their.module", "place": "/usr/lib/their/module.py", "digest": "d2"},
    ]
    more = {"plugins": plugins, "recipe": {"plugins": ["mine/loss.py", "their.module"]}}
    made = bundle(str(a_run(tmp_path, **more, stream={"row": 3})), REF, hub="huggingface")
    written = made.parcel.files["swift.json"]
    assert isinstance(written, bytes)
    said = json.loads(written)
    assert said["plugins"] == [
        {"said": "loss.py", "digest": "d1"},
        {"said": "their.module", "digest": "d2"},
    ]
    assert said["recipe"]["plugins"] == ["loss.py", "their.module"]
    assert said["stream"] == {"row": 3}
    assert Card.model_validate_json(written).plugins[0].place == ""
    assert "mine/" not in all_text(made) and "/usr/lib" not in all_text(made)


@pytest.mark.parametrize("kind", ["", "dataset"])
def test_a_run_without_a_checkpoint_is_no_data_set(tmp_path: Path, kind: Any) -> None:
    run = a_run(tmp_path)
    (run / "checkpoint-4").rename(tmp_path / "elsewhere")
    with pytest.raises(PlanError, match="is a run without a complete checkpoint"):
        bundle(str(run), REF, hub="huggingface", kind=kind)
    with pytest.raises(PlanError, match="run is a run\n"):
        bundle(str(tmp_path), REF, hub="huggingface", kind=kind)


def test_data_that_is_called_events_goes_up_where_it_is_said_to_be_data(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text('{"text": "a"}\n')
    made = bundle(str(tmp_path), REF, hub="huggingface", kind="dataset")
    assert "events.jsonl" in made.parcel.files


@pytest.mark.parametrize("name", ["x" * 300 + "/y", "~nobody-has-this-name/y"])
def test_a_base_whose_name_can_be_no_path_stops_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": name}))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    assert "README.md" in bundle(str(tmp_path), REF, hub="huggingface").parcel.files
