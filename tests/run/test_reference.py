"""What a reference says of all rows: once, kept, and the same as in every step."""

from __future__ import annotations

from pathlib import Path

import pytest

from swift import train_dpo
from swift.core.events import read_events
from tests.kit import tiny_chat_model

PAIRS = [
    {"prompt": f"which {n}", "chosen": f"tall {n}", "rejected": f"no stone {n}"} for n in range(8)
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat_model(tmp_path_factory.mktemp("reference"))


def run(base: Path, out: Path, once: bool, **more: object) -> tuple[list[float], bool]:
    """Return the losses, and whether the reference was asked beforehand."""
    done = train_dpo(
        str(base), None, PAIRS, output_dir=str(out), max_steps=4, batch_size=4,
        reference_once=once, bucket=False, **more,
    )  # fmt: skip
    asked = any(event["event"] == "reference" for event in read_events(out / "events.jsonl"))
    return [event["loss"] for event in done.history], asked


@pytest.mark.parametrize("tuner", ["lora", "full"])
def test_a_reference_asked_once_is_the_one_asked_in_every_step(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tuner: str
) -> None:
    monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "cache"))
    always, asked = run(base, tmp_path / "always", False, tuner=tuner)
    assert not asked
    once, asked = run(base, tmp_path / "once", True, tuner=tuner)
    assert asked
    assert once == pytest.approx(always, abs=1e-5)


def test_a_later_run_finds_the_answers_and_makes_damaged_ones_anew(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "cache"))
    first, asked = run(base, tmp_path / "a", True)
    assert asked
    second, asked = run(base, tmp_path / "b", True)
    assert not asked
    (kept,) = (tmp_path / "cache" / "reference").iterdir()
    kept.write_bytes(kept.read_bytes()[:-9])
    third, asked = run(base, tmp_path / "c", True)
    assert asked
    assert first == second == third
