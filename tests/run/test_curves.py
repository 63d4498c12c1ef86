"""curves.png is drawn from events.jsonl alone, at whatever end, and fails no run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import swift.run.curves
from swift.core.env import Ranks
from swift.core.errors import SwiftError
from swift.core.events import read_events
from swift.plan import Plan, resolve
from swift.recipe import read
from swift.run.curves import draw, panels
from swift.run.folder import claim
from swift.run.history import read_history, series
from swift.run.train import train
from tests.kit import chat_rows, tiny_chat_model

PNG = b"\x89PNG\r\n\x1a\n"


def step(number: int, **more: object) -> dict[str, object]:
    return {"event": "step", "step": number, "loss": 1 / number, "grad_norm": 1.0, **more}


def write(folder: Path, *events: dict[str, object]) -> Path:
    path = folder / "events.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def test_steps_that_a_resume_undid_do_not_count(tmp_path: Path) -> None:
    first = [step(n, loss=1.0) for n in (1, 2, 3, 4)]
    again = [step(n, loss=2.0) for n in (3, 4, 5)]
    resume = {"event": "resume", "step": 2, "total_steps": 5}
    history = read_history(write(tmp_path, *first, resume, *again))
    expected = [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0)]
    assert series(history.steps, "loss") == expected
    assert (history.resumed, history.total_steps) == (1, 5)


def test_a_run_begun_anew_forgets_its_first_try(tmp_path: Path) -> None:
    start = {"event": "start", "step": 0, "total_steps": 9}
    history = read_history(write(tmp_path, start, step(1), step(2), start, step(1, loss=7.0)))
    assert series(history.steps, "loss") == [(1, 7.0)]


def test_what_is_no_number_is_passed_over(tmp_path: Path) -> None:
    odd = [
        step(1, loss=float("nan")),
        step(2, loss="low"),
        {"event": "step"},
        step(3, loss=10**400),
    ]
    history = read_history(write(tmp_path, *odd, step(4)))  # type: ignore[arg-type]
    assert series(history.steps, "loss") == [(4, 0.25)]


def test_the_methods_own_metrics_have_panels(tmp_path: Path) -> None:
    held_out = {"event": "eval", "step": 2, "loss": 0.5, "rewards/margins": 0.1}
    steps = [step(n, **{"rewards/margins": n / 10, "cpu_s": 1.0}) for n in (1, 2)]
    found = panels(read_history(write(tmp_path, *steps, held_out)))
    assert [p.title for p in found] == ["loss", "gradient norm", "rewards/margins"]
    assert found[2].train == [(1, 0.1), (2, 0.2)]
    assert found[2].held_out == [(2, 0.1)]


def test_a_name_full_of_dollars_is_drawn(tmp_path: Path) -> None:
    write(tmp_path, step(1, **{"a$_{b$": 1.0, "损失": 2.0}), step(2))
    path = draw(tmp_path)
    assert path is not None
    assert path.read_bytes().startswith(PNG)


def test_without_a_step_there_is_no_picture(tmp_path: Path) -> None:
    write(tmp_path, {"event": "start", "step": 0, "total_steps": 3})
    assert draw(tmp_path) is None
    assert not (tmp_path / "curves.png").exists()


def test_drawing_says_nothing_while_fonts_are_listed(tmp_path: Path) -> None:
    write(tmp_path, step(1), step(2))
    script = (
        "import os, sys; from pathlib import Path; from swift.run.curves import draw\n"
        "assert 'matplotlib' not in sys.modules\n"
        "draw(Path(sys.argv[1])); assert 'matplotlib.pyplot' not in sys.modules"
    )
    broken = {"MPLCONFIGDIR": "/dev/null/no", "PATH": "", "MPLBACKEND": "TkAgg"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, env=broken
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("curves")
    tiny_chat_model(base / "model")
    chat_rows(base / "rows.jsonl", 8)
    return base


def plan(base: Path, out: Path, *flags: tuple[str, object]) -> Plan:
    named: list[tuple[str, object]] = [
        ("model", str(base / "model")),
        ("dataset", str(base / "rows.jsonl")),
        ("output_dir", str(out)),
        ("model.dtype", "float32"),
        ("max_steps", 3),
        ("batch_size", 4),
    ]
    return resolve(read(None, [*named, *flags], "sft"))


def kinds(folder: Path) -> list[str]:
    return [event["event"] for event in read_events(folder / "events.jsonl")]


def test_every_run_leaves_its_curves(base: Path, tmp_path: Path) -> None:
    made = plan(base, tmp_path / "run")
    folder, _ = claim(made)
    train(made, folder, Ranks(), None, lambda event: None)
    assert (folder / "curves.png").read_bytes().startswith(PNG)
    assert "warning" not in kinds(folder)


def test_a_run_that_fails_after_a_step_leaves_them_too(base: Path, tmp_path: Path) -> None:
    made = plan(base, tmp_path / "run", ("learning_rate", 1e30), ("warmup", 0), ("tuner", "full"))
    folder, _ = claim(made)
    with pytest.raises(SwiftError):
        train(made, folder, Ranks(), None, lambda event: None)
    assert kinds(folder)[-1] == "end"
    assert "step" in kinds(folder)
    assert (folder / "curves.png").is_file()


@pytest.mark.parametrize(
    ("error", "why"), [(RuntimeError("no font"), "no font"), (KeyboardInterrupt(), "Keyboard")]
)
def test_a_picture_that_cannot_be_drawn_is_a_warning(
    error: BaseException, why: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> bytes:
        raise error

    monkeypatch.setattr(swift.run.curves, "_png", fails)
    made = plan(base, tmp_path / "run")
    folder, _ = claim(made)
    train(made, folder, Ranks(), None, lambda event: None)
    assert kinds(folder)[-2:] == ["warning", "end"]
    (said,) = read_history(folder / "events.jsonl").warnings
    assert f"curves.png was not drawn: {why}" in said
