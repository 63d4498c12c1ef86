"""Every trouble has a name, a meaning and a policy, and is counted with where it was."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import swift
from swift.core.errors import DataError
from swift.dataset.report import Report
from swift.dataset.troubles import POLICIES, troubles

SOURCE = Path(swift.__file__).parent


def _noted(tree: ast.AST) -> Iterator[str]:
    """Yield the names that a module counts rows under, as far as they are literals."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Yield) and node.value is not None:
            yield from (word for word in _words(node.value) if troubles.get(word))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "trouble":
            yield from _words(node.value)
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        called = node.func.id if isinstance(node.func, ast.Name) else called
        said = [word.value for word in node.keywords if word.arg == "trouble"]
        if called in ("Reject", "note", "on_reject", "_tell"):
            said += node.args[:1]
        for value in said:
            yield from _words(value)


def _words(value: ast.expr) -> list[str]:
    if isinstance(value, ast.IfExp):
        return _words(value.body) + _words(value.orelse)
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return [value.value]
    return []


def test_every_name_that_is_noted_is_in_the_table_and_every_name_in_it_is_noted() -> None:
    noted: set[str] = set()
    folders = [*(SOURCE / "dataset").rglob("*.py"), *(SOURCE / "run").glob("*.py")]
    for path in folders:
        noted |= set(_noted(ast.parse(path.read_text(encoding="utf-8"))))
    noted.discard("")
    assert noted == set(troubles.names())


def test_every_trouble_says_what_it_means_and_may_be_what_it_is_by_default() -> None:
    for trouble in troubles:
        assert trouble.means, trouble.name
        assert trouble.default in trouble.policies, trouble.name
        assert set(trouble.policies) <= set(POLICIES), trouble.name
        assert trouble.repair or "fail" not in trouble.policies, trouble.name


def test_trouble_is_counted_and_its_first_rows_are_named() -> None:
    report = Report(rows=9)
    for line in range(7):
        report.note("broken-line", f"a.jsonl:{line}")
    assert report.counts == {"broken-line": 7}
    assert report.describe().splitlines()[1] == (
        "  broken-line: 7 (a.jsonl:0, a.jsonl:1, a.jsonl:2, a.jsonl:3, a.jsonl:4, …); "
        "drop: the line is no JSON object or the row is no record"
    )


def test_a_report_is_the_same_after_a_journey_through_json() -> None:
    report = Report(rows=3, samples=2, policies={"duplicate": "drop"})
    report.note("truncated", "a:1")
    report.measure([5, 9, 9], lost=4)
    report.part("a").rows = 3
    assert Report.of(json.loads(json.dumps(report.as_dict()))) == report


def test_strict_names_the_first_rows_of_every_trouble_at_once() -> None:
    report = Report(strict=True)
    report.note("broken-line", "a:1")
    report.note("empty-answer", "a:4")
    with pytest.raises(DataError) as caught:
        report.check()
    assert [p.where for p in caught.value.problems] == ["a:1", "a:4"]
    assert "empty-answer: a turn of the assistant is empty" in str(caught.value)


def test_strict_does_not_go_on_for_ever() -> None:
    report = Report(strict=True)
    with pytest.raises(DataError, match="15 more such rows"):
        for line in range(1000):
            report.note("broken-line", f"a:{line}")


def test_what_was_asked_for_is_no_error_even_when_strict() -> None:
    report = Report(strict=True)
    report.note("repeated", "a")
    report.note("left-out", "a:1")
    report.check()


def test_a_data_set_that_comes_again_is_named_once_and_not_cut_short() -> None:
    report = Report()
    for dataset in ("few", "some", "few", "few"):
        report.repeat(dataset)
    assert report.line("repeated").startswith("repeated: 4 (few: 3, some: 1); keep: ")
    assert report.origins["repeated"] == ["few", "some"]


def test_what_the_recipe_decides_is_counted_and_costs_no_row_unasked() -> None:
    report = Report(rows=9, policies={"duplicate": "drop", "leaked": "keep"})
    for name in ("duplicate", "broken-line", "left-out", "leaked"):
        report.note(name, "a:1")
    assert report.rejecting() == ["broken-line"]
    assert report.rejected == 1
    assert [name for name in report.by_count() if report.unasked(name)] == ["broken-line", "leaked"]
