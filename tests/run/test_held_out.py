"""A share that is held out, in a run and in its check: what is trained, validated and said."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from swift.core.errors import DataError
from swift.plan import Plan, resolve
from swift.recipe import read
from swift.run.check import Checked, check
from swift.run.data import Prepared, prepare, write_reports
from swift.run.display import Display
from tests.kit import chat_rows, tiny_chat_model

Said = tuple[str, object]
Told = list[dict[str, Any]]

MIXED = ("data.stopping", "all_exhausted")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("held")
    tiny_chat_model(folder / "model")
    chat_rows(folder / "many.jsonl", 40, seed=1)
    chat_rows(folder / "few.jsonl", 20, seed=2)
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "cache"))


def recipe(base: Path, *said: Said, method: str = "sft") -> Any:
    model = ("model", str(base / "model"))
    return read(None, [model, ("data.validation", 0.2), *said], method)


def sets(base: Path, *weights: float) -> Said:
    names = [str(base / name) for name in ("many.jsonl", "few.jsonl")]
    if not weights:
        return ("dataset", names)
    return ("dataset", [{"name": n, "weight": w} for n, w in zip(names, weights, strict=True)])


def prepared(plan: Plan) -> tuple[Prepared, Told]:
    told: Told = []
    return prepare(plan, lambda kind, **fields: told.append({"event": kind, **fields})), told


def checked(base: Path, *said: Said) -> Checked:
    return check(recipe(base, *said), say=lambda text: None)


def test_a_row_that_comes_again_is_trained_or_validated_never_both(base: Path) -> None:
    made, _ = prepared(resolve(recipe(base, sets(base, 1, 3), MIXED)))
    assert made.validation is not None
    trained, held = set(made.train.origins), set(made.validation.origins)
    assert not trained & held
    assert len(trained | held) == 60
    assert len(made.validation) == len(held) == 12
    assert len(made.train) > len(trained)  # rows do come again


def test_its_check_finds_nothing_leaked_and_counts_rows_once(base: Path) -> None:
    found = checked(base, sets(base, 1, 3), MIXED)
    train, held = found.reports["train"], found.reports["validation"]
    assert (train.rows, held.rows, held.samples) == (48, 12, 12)
    assert train.samples == train.rows + train.counts["repeated"] - train.counts["held-again"]
    assert not held.counts
    assert not found.findings


def test_rows_that_come_once_are_on_one_side_of_every_report(base: Path, tmp_path: Path) -> None:
    made, told = prepared(resolve(recipe(base, sets(base))))
    data = {event["split"]: event for event in told if event["event"] == "data"}
    assert {name: (e["samples"], e["rows"]) for name, e in data.items()} == {
        "train": (48, 48),
        "validation": (12, 12),
    }
    write_reports(made.reports, tmp_path)
    written = json.loads((tmp_path / "data_report.json").read_text())
    for name, part in (("train", made.train), ("validation", made.validation)):
        assert part is not None
        assert written[name]["tokens"] == part.lengths.sum()
        assert sum(count for *_, count in written[name]["lengths"]["bins"]) == len(part)
    out = io.StringIO()
    for event in told:
        Display(out).show(event)
    assert "data: 48 samples of 48 rows" in out.getvalue()
    assert "\nvalidation: 12 samples of 12 rows" in out.getvalue()
    assert "0 samples" not in out.getvalue()


def test_the_share_is_a_view_of_the_kept_tokens(base: Path, tmp_path: Path) -> None:
    for share in (0.1, 0.2, 0.5):
        said = ("data.validation", share)
        made, _ = prepared(resolve(recipe(base, sets(base, 1, 3), MIXED, said)))
        assert made.validation is not None
        assert len(made.validation) == round(60 * share)
    assert len(list((tmp_path / "cache" / "encoded").glob("*/card.json"))) == 1


def test_equal_rows_that_are_kept_are_no_leak(base: Path, tmp_path: Path) -> None:
    rows = (base / "few.jsonl").read_text()
    (tmp_path / "twice.jsonl").write_text(rows * 2)
    found = checked(base, ("dataset", str(tmp_path / "twice.jsonl")))
    assert {finding.name for finding in found.findings} == {"duplicate"}
    assert found.reports["validation"].samples == 8


def test_a_data_set_that_comes_again_is_named_once_with_its_count(base: Path) -> None:
    report = checked(base, sets(base, 1, 3), MIXED).reports["train"]
    few = str(base / "few.jsonl")
    again = report.counts["repeated"]
    assert report.origins["repeated"] == [few]
    assert report.line("repeated").startswith(f"repeated: {again} ({few}: {again}); keep")
    assert report.told()["datasets"][few]["repeated"] == again


def test_what_was_wrong_is_measured_against_all_rows(base: Path, tmp_path: Path) -> None:
    """50 of 100 rows are no more than half of them, whatever is held out."""
    (tmp_path / "rows.jsonl").write_text((base / "few.jsonl").read_text() + "{\n" * 20)
    assert not checked(base, ("dataset", str(tmp_path / "rows.jsonl"))).failures


@pytest.mark.parametrize(("policy", "warned"), [("keep", {"duplicate"}), ("drop", set())])
def test_a_policy_that_is_followed_is_no_advice(
    policy: str, warned: set[str], base: Path, tmp_path: Path
) -> None:
    rows = (base / "few.jsonl").read_text()
    (tmp_path / "thrice.jsonl").write_text(rows * 3)
    said = (("dataset", str(tmp_path / "thrice.jsonl")), ("data.on_duplicate", policy))
    found = checked(base, *said)
    assert {finding.name for finding in found.findings} == warned
    assert found.reports["train"].counts["duplicate"] == 40


def test_leaks_that_are_dropped_as_asked_are_no_advice(base: Path, tmp_path: Path) -> None:
    rows = (base / "few.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "held.jsonl").write_text("".join(rows[:2]) + (base / "many.jsonl").read_text())
    said = (("dataset", str(base / "few.jsonl")), ("data.validation", str(tmp_path / "held.jsonl")))
    assert {f.name for f in checked(base, *said).findings} == {"leaked"}
    assert not checked(base, *said, ("data.on_leak", "drop")).findings


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (("train.batch_size", 49), "a step takes 49 samples, and there are 48"),
        (("data.num_proc", 4096), "data.num_proc is 4,096, and this process may use"),
    ],
)
def test_more_than_there_is_is_said_aloud(
    said: Said, text: str, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = resolve(recipe(base, sets(base)))
    prepared(plan)  # so that no processes are started for what is kept
    assert [f.text[: len(text)] for f in checked(base, sets(base), said).findings] == [text]
    _, told = prepared(resolve(recipe(base, sets(base), said)))
    notes = [event["text"] for event in told if event["event"] == "note"]
    assert [note[: len(text)] for note in notes] == [text]
    monkeypatch.setattr("swift.run.sizes.cores", lambda: 4096)
    most = (("train.batch_size", 48), ("data.num_proc", 4096))
    _, told = prepared(resolve(recipe(base, sets(base), *most)))
    assert not [event for event in told if event["event"] == "note"]


def test_a_share_of_rows_that_all_say_the_same_leaves_nothing(base: Path, tmp_path: Path) -> None:
    line = (base / "few.jsonl").read_text().splitlines(keepends=True)[0]
    (tmp_path / "same.jsonl").write_text(line * 9)
    with pytest.raises(DataError, match="leaves none to train on: they say the same"):
        checked(base, ("dataset", str(tmp_path / "same.jsonl")))
