"""Claims about templates on trial: what passes, what is refused before a step, what is mended."""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from swift.chat import verify as trial
from swift.chat.message import Message
from swift.chat.source import choose
from swift.chat.speaker import Speaker
from swift.chat.template import Template
from swift.chat.tokenize import Tokenizer
from swift.chat.verify import Verdict, end_left_out, end_token, verify
from swift.chat.verify import tried as trial_of
from swift.chat.wires import jinja, wires
from swift.core.errors import DataError
from tests.chat.voices import tiny_tokenizer
from tests.kit import CHATML

TOKENS = {"bos_token": "<s>", "eos_token": "<e>"}
KEPT = sorted((Path(__file__).parent / "jinja").glob("*.jinja"))
"""Public templates; the README beside them says whose."""

_TRL = find_spec("trl")
ELSEWHERE = sorted(
    Path((_TRL.origin if _TRL else None) or "").parent.glob("chat_templates/*.jinja")
)
"""Those that a package of ours brings."""

JINJA = sorted({path.name: path for path in (*ELSEWHERE, *KEPT)}.values(), key=lambda p: p.name)

MARK = re.compile(r"<[|｜][^<>\s'\"{}]+?[|｜]>|<end_of_turn>|<turn\|>|<end_of_utterance>")
"""What looks like a special token in a template."""

STOPS = ("<|user|>", "<|observation|>")
"""Headers that GLM's generation_config.json lists among the ends of an answer."""

FAILING = {
    "deepseek_r1_distill": "goes on with '<think>\\n'",
    "deepseekv3": "goes on with '<think>\\n'",
    "idefics3": "the answer is not trained",
    "llava_next": "'str object' has no attribute 'text'",
    "smolvlm": "the answer is not trained",
}
"""Public templates that must not be trained with as they are, and why: the first two open thinking
in the prompt and never write any in training; the others want a message's content in parts."""


def voice(folder: Path, source: str) -> Tokenizer:
    """Return a tokenizer that knows what a template's source marks as tokens."""
    marks = sorted({*MARK.findall(source), "<|im_end|>", *STOPS} - {"<s>", "<e>"})
    tokenizer = Tokenizer.load(tiny_tokenizer(folder, marks))
    held = [tokenizer.backend.token_to_id(stop) for stop in STOPS if stop in source]
    return replace(tokenizer, stop_ids=(*tokenizer.stop_ids, *held))


def tried(folder: Path, source: str) -> tuple[Template, Verdict]:
    tokenizer = voice(folder, source)
    template = Template(source, TOKENS)
    template = replace(template, end=end_left_out(template, tokenizer))
    return template, verify(template, tokenizer)


SOURCES = Path(__file__).parent / "jinja" / "sources.csv"


def sources() -> dict[str, dict[str, str]]:
    """Return file -> its family, repository, licence and digest."""
    with SOURCES.open(encoding="utf-8", newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("path", KEPT, ids=lambda p: p.stem)
def test_a_kept_template_says_whose_it_is_and_is_unchanged(path: Path) -> None:
    row = sources()[path.name]
    assert row["licence"] in ("MIT", "Apache-2.0")
    assert "/" in row["repository"]
    assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_there_are_thirty_public_templates() -> None:
    assert len(KEPT) >= 30
    assert sources().keys() == {path.name for path in KEPT}
    assert set(FAILING) <= {path.stem for path in KEPT}


@pytest.mark.parametrize("path", JINJA, ids=lambda p: p.stem)
def test_a_public_template_passes_or_fails_for_its_reason(path: Path, tmp_path: Path) -> None:
    _, verdict = tried(tmp_path, path.read_text(encoding="utf-8"))
    stem = path.stem.removesuffix("_training")
    if stem in FAILING:
        assert FAILING[stem] in verdict.wrong["one turn"]
    else:
        assert verdict.wrong == {}
        assert {"one turn", "turns"} <= set(verdict.taken)


@pytest.mark.parametrize("name", wires.names())
def test_every_wire_passes(name: str, tmp_path: Path) -> None:
    held = {"bos": "<s>", "eos": "<e>"}
    marks: set[str] = set()

    def text(mark: str) -> str:
        marks.add(f"<|{mark}|>")
        return held.get(mark, f"<|{mark}|>")

    source = jinja(wires[name], text)
    ends = {"<|end|>", "[UNUSED_TOKEN_145]", "<eoa>", "</s>", "<eos>", "<end_of_turn>"}
    tokens = sorted({*MARK.findall(source), *marks, *ends, "</longcat_s>"} - {"<s>", "<e>"})
    tokenizer = Tokenizer.load(tiny_tokenizer(tmp_path, tokens))
    verdict = verify(Template(source, TOKENS), tokenizer)
    assert verdict.wrong == {}
    assert "one turn" in verdict.taken
    assert ("turns" in verdict.taken) == (wires[name].turns == "many")


def test_an_end_left_to_the_next_header_is_trained_with_every_answer(tmp_path: Path) -> None:
    source = next(p for p in KEPT if p.stem == "glm4moe").read_text(encoding="utf-8")
    template, _ = tried(tmp_path, source)
    assert template.end == "<|user|>"
    chat = [Message(role=r, content=c) for r, c in [("user", "a"), ("assistant", "b")] * 2]
    spanned = template.spans(chat)
    assert [spanned.text[e - 9 : e] for _, e in spanned.spans] == ["b<|user|>"] * 2
    assert spanned.text.startswith(template.render(chat))
    assert template.fingerprint != replace(template, end="").fingerprint


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", "no token ends"),
        (CHATML.replace("assistant\n", "assistant\nSo: "), "'So: '"),
        ("{% for m in messages if m.role == 'user' %}x{% endfor %}", "message 2, an answer"),
    ],
)
def test_a_template_that_trains_something_else_is_refused_by_name(
    source: str, what: str, tmp_path: Path
) -> None:
    tiny_tokenizer(tmp_path, ["<|im_start|>", "<|im_end|>"])
    with pytest.raises(DataError) as caught:
        trial_of(Template(source, TOKENS), tmp_path, None)
    (problem,) = caught.value.problems
    assert what in problem.what
    assert str(tmp_path) in problem.what
    assert problem.fix.startswith("model.template: ")


def test_what_passed_is_not_tried_again_and_what_changed_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = tiny_tokenizer(tmp_path / "m", ["<|im_start|>", "<|im_end|>"]), tmp_path / "c"
    count = 0

    def counted(template: Template, tokenizer: Tokenizer) -> Verdict:
        nonlocal count
        count += 1
        return verify(template, tokenizer)

    monkeypatch.setattr(trial, "verify", counted)
    for _ in range(2):
        trial_of(Template(CHATML, TOKENS), folder, cache)
    assert count == 1
    trial_of(Template("{# new #}" + CHATML, TOKENS), folder, cache)
    tiny_tokenizer(folder, ["<|im_start|>", "<|im_end|>", "<more>"])
    trial_of(Template(CHATML, TOKENS), folder, cache)
    assert count == 3


@pytest.mark.parametrize(
    "spoilt", ["", "{", "[]", '{"end": 1}', "\x00", '{"end": "", "taken": []}']
)
def test_a_spoilt_cache_is_passed_over_and_mended(tmp_path: Path, spoilt: str) -> None:
    folder, cache = tiny_tokenizer(tmp_path / "m", ["<|im_start|>", "<|im_end|>"]), tmp_path / "c"
    first = trial_of(Template(CHATML, TOKENS), folder, cache)
    (known,) = (cache / "templates").iterdir()
    good = known.read_text()
    known.write_text(spoilt)
    again = trial_of(Template(CHATML, TOKENS), folder, cache)
    assert (again.template, again.verdict) == (first.template, first.verdict)
    assert known.read_text() == good


def test_what_is_remembered_is_of_this_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = tiny_tokenizer(tmp_path / "m", ["<|im_start|>", "<|im_end|>"]), tmp_path / "c"
    trial_of(Template(CHATML, TOKENS), folder, cache)
    monkeypatch.setattr(trial, "__version__", "another")
    trial_of(Template(CHATML, TOKENS), folder, cache)
    assert len(list((cache / "templates").iterdir())) == 2


def test_a_verdict_is_one_line() -> None:
    verdict = Verdict(
        taken=("one turn", "thinking"), refused={"tools": "a\n  b"}, wrong={"system": "x"}
    )
    assert verdict.describe() == "spans verified: x; thinking: ok; tools: a b"
    assert "tools: not tried" in replace(verdict, refused={}).describe()


def test_a_cache_that_cannot_be_written_does_not_stop_anything(tmp_path: Path) -> None:
    folder = tiny_tokenizer(tmp_path / "m", ["<|im_start|>", "<|im_end|>"])
    (tmp_path / "file").write_text("")
    template = Template(CHATML, TOKENS)
    assert trial_of(template, folder, tmp_path / "file" / "below").template == template


def test_the_end_of_a_turn_ends_answers_though_no_config_says_so(tmp_path: Path) -> None:
    tiny_tokenizer(tmp_path, ["<|im_start|>", "<|im_end|>"])
    (tmp_path / "chat_template.jinja").write_text(CHATML)
    speaker = Speaker.load(tmp_path)
    assert speaker.template is not None
    assert end_token(speaker.template, speaker.tokenizer) == 1
    assert speaker.stop_ids == {1, speaker.tokenizer.eos_id}


def test_a_wire_by_name_passes_where_the_models_own_template_fails(tmp_path: Path) -> None:
    source = next(p for p in KEPT if p.stem == "deepseekv3").read_text(encoding="utf-8")
    marks = sorted(set(MARK.findall(source)) | {"<｜begin▁of▁sentence｜>"})
    tiny_tokenizer(tmp_path, marks)
    (tmp_path / "chat_template.jinja").write_text(source, encoding="utf-8")
    with pytest.raises(DataError, match="<think>"):
        trial_of(choose(tmp_path, "auto"), tmp_path, None)
    assert trial_of(choose(tmp_path, "deepseek_r1"), tmp_path, None).template.source
