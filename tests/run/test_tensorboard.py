"""`report: [tensorboard]`: the numbers of events.jsonl as scalars, each step once."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import swift.report.tensorboard
from swift.core.env import Ranks
from swift.core.errors import PlanError, RecipeError
from swift.core.events import read_events
from swift.plan import Plan, read_plan, resolve
from swift.recipe import read
from swift.report import Report, Writer, reports
from swift.report.tensorboard import TensorBoard
from swift.run.folder import claim
from swift.run.history import read_history, series
from swift.run.reporting import Reporting
from swift.run.train import train
from tests.kit import chat_rows, tiny_chat_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("tensorboard")
    tiny_chat_model(base / "model")
    chat_rows(base / "rows.jsonl", 24)
    return base


def plan(base: Path, out: Path, *flags: tuple[str, object]) -> Plan:
    named: list[tuple[str, object]] = [
        ("model", str(base / "model")),
        ("dataset", str(base / "rows.jsonl")),
        ("output_dir", str(out)),
        ("model.dtype", "float32"),
        ("report", "tensorboard"),
        ("max_steps", 4),
        ("save_every", 2),
        ("batch_size", 4),
    ]
    return resolve(read(None, [*named, *flags], "sft"))


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard itself shows of a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen = EventAccumulator(str(folder / "tensorboard"))
    seen.Reload()
    return {tag: [(e.step, e.value) for e in seen.Scalars(tag)] for tag in seen.Tags()["scalars"]}


def rounded(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return the points in float32, which TensorBoard keeps."""
    return [(step, struct.unpack("f", struct.pack("f", value))[0]) for step, value in points]


def test_a_run_shows_what_its_events_hold(base: Path, tmp_path: Path) -> None:
    made = plan(base, tmp_path / "run", ("data.validation", 0.2), ("eval_every", 2))
    folder, _ = claim(made)
    train(made, folder, Ranks(), None, lambda event: None)
    history, shown = read_history(folder / "events.jsonl"), scalars(folder)
    for name in ("loss", "learning_rate", "grad_norm", "epoch"):
        expected = series(history.steps, name)
        assert len(expected) == 4
        assert shown[f"train/{name}"] == rounded(expected)
    expected = series(history.evals, "loss")
    assert shown["eval/loss"] == rounded(expected)
    assert [step for step, _ in expected] == [2, 4]


def test_a_killed_and_resumed_run_has_each_step_once(base: Path, tmp_path: Path) -> None:
    made = plan(base, tmp_path / "run")
    folder, _ = claim(made)

    def killed(event: Mapping[str, Any]) -> None:
        if event.get("step") == 4:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        train(made, folder, Ranks(), None, killed)
    assert [step for step, _ in scalars(folder)["train/loss"]] == [1, 2, 3]
    folder, checkpoint = claim(made)
    assert checkpoint is not None
    train(made, folder, Ranks(), checkpoint, lambda event: None)
    steps = [e["step"] for e in read_events(folder / "events.jsonl") if e["event"] == "step"]
    assert steps == [1, 2, 3, 4, 3, 4]
    assert [step for step, _ in scalars(folder)["train/loss"]] == [1, 2, 3, 4]


@pytest.mark.parametrize(("rank", "files"), [(0, 1), (1, 0)])
def test_only_rank_0_writes(
    rank: int, files: int, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begins(
        plan: Plan, folder: Path, ranks: Ranks, resume: None, event: Any, given: Any
    ) -> Path:
        event("start", step=0)
        event("step", step=1, loss=1.0)
        return folder

    monkeypatch.setattr("swift.run.train._train", begins)
    made = plan(base, tmp_path / "run")
    folder, _ = claim(made)
    train(made, folder, Ranks(rank=rank, world=2), None, lambda event: None)
    assert len([*folder.glob("tensorboard/*")]) == files


class Breaks(Report):
    """Breaks at the second event."""

    def open(self, folder: Path) -> Writer:
        events: list[Mapping[str, Any]] = []

        class Full:
            def take(self, event: Mapping[str, Any]) -> None:
                events.append(event)
                if len(events) > 1:
                    raise OSError("disk full")

            def close(self) -> None:
                raise AssertionError("it has ended already")

        return Full()


def test_a_report_that_fails_is_warned_of_once(tmp_path: Path) -> None:
    Breaks.name = "breaks"
    told: list[str] = []
    reporting = Reporting([Breaks()], tmp_path, told.append)
    for kind in ("start", "step", "step"):
        reporting.take({"event": kind, "time": 0, "step": 0})
    reporting.close()
    assert told == ["the report `breaks` ends here: OSError: disk full"]


@pytest.mark.parametrize(
    "said",
    ["report: tensorboard", "report: [tensorboard]", "report: {name: tensorboard}"],
)
def test_each_spelling_is_the_same_report(said: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(said)
    recipe = read(path)
    assert recipe.report == (TensorBoard(),)
    path.write_text(recipe.dump())
    assert read(path).report == (TensorBoard(),)


@pytest.mark.parametrize("flag", [("report", "tensorboard"), ("report_to", "tensorboard")])
def test_flags_name_it_too(flag: tuple[str, str]) -> None:
    assert read(None, [flag]).report == (TensorBoard(),)


def test_none_is_none() -> None:
    assert read(None, [("report_to", "none")]).report == ()
    assert [*reports] == ["tensorboard"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("tensorbord", "write `tensorboard`"),
        (["tensorboard", "wandb"], "there is no report `wandb`"),
        ({"name": "tensorboard", "folder": "x"}, "folder"),
        (3, "report"),
    ],
)
def test_a_mistake_is_a_problem(value: object, says: str) -> None:
    with pytest.raises(RecipeError) as found:
        read(None, [("report", value)])
    assert says in str(found.value)


def test_a_missing_package_is_known_before_the_run(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swift.report.tensorboard, "find_spec", lambda name: None)
    with pytest.raises(PlanError) as found:
        plan(base, tmp_path / "run")
    assert 'pip install "swift-llm[report]"' in str(found.value)
    assert not (tmp_path / "run").exists()


def test_a_run_is_the_same_run_with_another_report(base: Path, tmp_path: Path) -> None:
    made = plan(base, tmp_path / "run")
    assert plan(base, tmp_path / "run", ("report", [])).digest == made.digest
    folder, _ = claim(made)
    assert read_plan(folder).recipe.report == (TensorBoard(),)
