"""YAML 1.2 in and out, with the line of every key."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swift.core import yaml


def parse(text: str) -> yaml.Document:
    return yaml.parse(text, name="r.yaml")


def said(document: yaml.Document) -> list[str]:
    return [f"{p.where}: {p.what}" for p in document.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("no", "no"),
        ("on", "on"),
        ("0777", 777),
        ("0o17", 15),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("true", True),
        ("~", None),
        ("'8'", "8"),
        (".inf", math.inf),
        ("alpaca#500", "alpaca#500"),
        ("{name: lora, rank: 4}", {"name": "lora", "rank": 4}),
    ],
)
def test_a_scalar_is_what_yaml_1_2_says(text: str, value: object) -> None:
    document = parse(f"a: {text}\n")
    assert document.tree == {"a": value}
    assert type(document.tree["a"]) is type(value)
    assert not document.problems


def test_every_key_and_item_knows_its_line() -> None:
    lines = parse("a: 1\n\nb:\n  c: 2\n  d:\n  - x\n  - y: 3\n").lines
    assert lines == {
        ("a",): 1,
        ("b",): 3,
        ("b", "c"): 4,
        ("b", "d"): 5,
        ("b", "d", 0): 6,
        ("b", "d", 1): 7,
        ("b", "d", 1, "y"): 7,
    }


def test_every_key_written_twice_is_named_with_both_lines() -> None:
    document = parse("a: 1\na: 2\nb: {c: 1, c: 2}\n")
    assert said(document) == [
        "r.yaml:2 a: `a` is written twice, first on line 1",
        "r.yaml:3 b.c: `b.c` is written twice, first on line 3",
    ]
    assert document.tree == {"a": 1, "b": {"c": 1}}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1, 2\nb: 3\n", 1),
        ("a: 1\nb: 'x\n", 2),
        ("a: 1\nb: c: d\n", 2),
        ("a: 1\nb:\n\tc: 2\n", 3),
        ("a: 1\nb: @x\n", 2),
        ("a: 1\nb: *x\n", 2),
    ],
)
def test_a_syntax_error_knows_where_it_begins(text: str, line: int) -> None:
    (problem,) = parse(text).problems
    assert problem.where == f"r.yaml:{line}"
    assert problem.what.startswith("this is not YAML")


def test_a_syntax_error_hides_no_other_block() -> None:
    document = parse("a: [1\nb: 2\nb: 3\nc: d: e\nf: 4\n")
    assert [p.where for p in document.problems] == ["r.yaml:1", "r.yaml:3 b", "r.yaml:4"]
    assert document.tree == {"b": 2, "f": 4}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("- a\n- b\n", "not a map"),
        ("word", "not a map"),
        ("a: 1\n---\nb: 2\n", "another document"),
        ("a: !!python/object:os.system x\n", "the tag"),
        ("? [a, b]\n: 1\n", "a key must be a word"),
        ("a: &x [*x]\n", "holds itself"),
        ("a: \x07\n", "not YAML"),
        ("a: " + "9" * 5000 + "\n", "cannot be read as the number"),
        ("[" * 3000, "nested too deeply"),
        ("a: " + "[" * 3000, "nested too deeply"),
    ],
)
def test_what_no_recipe_holds_is_a_problem_never_an_exception(text: str, what: str) -> None:
    assert any(what in problem for problem in said(parse(text)))


def test_a_bomb_of_aliases_does_not_expand() -> None:
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    document = parse("a0: &a0 [x]\n" + "\n".join(levels))
    assert any("more values than a recipe can" in problem for problem in said(document))


def test_an_empty_text_is_an_empty_map() -> None:
    assert parse("# nothing\n") == yaml.Document()


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "near.yaml").touch()
    (problem,) = yaml.read(tmp_path / "absent.yaml").problems
    assert "there is no file" in problem.what
    assert "near.yaml" in problem.fix
    assert "a folder" in yaml.read(tmp_path).problems[0].what
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9\n")
    assert yaml.read(tmp_path / "latin.yaml").problems[0].where.endswith("latin.yaml:2")
    (tmp_path / "large.yaml").write_bytes(b"#" * (yaml.MAX_BYTES + 1))
    assert "larger than" in yaml.read(tmp_path / "large.yaml").problems[0].what


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfmodel: nano\r\n")
    assert yaml.read(tmp_path / "bom.yaml").tree == {"model": "nano"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("1e-4", 1e-4),
        ("False", False),
        ("null", None),
        ("lora", "lora"),
        ("'8'", "8"),
        ("[a, b]", ["a", "b"]),
        ("{name: lora, rank: 4}", {"name": "lora", "rank": 4}),
        ("C: drive", "C: drive"),
        ("a # b", "a # b"),
        ("- x", "- x"),
        ("@x", "@x"),
        ("", ""),
        ("#x", "#x"),
    ],
)
def test_a_flag_is_a_yaml_value_or_the_text_itself(text: str, value: object) -> None:
    assert yaml.flag(text) == value


@pytest.mark.parametrize("text", ["[1, 2", "{a: 1", "{a: 1, a: 2}"])
def test_a_flag_that_opens_a_list_must_close_it(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        yaml.flag(text)


words = st.text(st.characters(exclude_categories=("C", "Z")) | st.sampled_from(" \n:#'\""))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words
trees = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(words, inner), max_leaves=6
)


@settings(max_examples=60)
@given(st.dictionaries(words, trees, max_size=4))
def test_what_is_dumped_is_read_back(tree: dict[str, Any]) -> None:
    document = parse(yaml.dump(tree))
    assert document.tree == tree
    assert not document.problems


@given(st.text())
def test_no_text_makes_it_raise(text: str) -> None:
    parse(text)
    parse(f"train:\n  epochs: {text}\nmodel: nano")
