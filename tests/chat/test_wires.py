"""Claims about wires: every row is written as its model was trained to read it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from fnmatch import filter as filter_names
from pathlib import Path

import pytest

from swift.chat.message import Message
from swift.chat.source import choose, load
from swift.chat.template import Template
from swift.chat.wires import Wire, jinja, wire, wire_for, wires
from swift.core.errors import DataError
from swift.model.names import find, rows
from tests.chat.voices import tiny_tokenizer

EXPECTED = Path(__file__).with_name("wires_expected.csv")
"""What every wire made of the fixed conversation when it was last looked at: text, first answer,
last answer. Our own renderer wrote it, so it finds changes, and no mistake of the first day."""

BY_HAND = json.loads(Path(__file__).with_name("by_hand.json").read_text(encoding="utf-8"))
"""The same conversation, written out from what the families publish (model cards, their own chat
code), not by our renderer. Where the two differed, the table was mended: ten rows lacked the blank
that an answer begins with, four had another blank wrong. `system` "": without a system message."""

PUBLIC = {
    "chatml": ["qwen2_5", "qwen2_5_vl", "qwen3_instruct_2507", "qwen3_vl"],
    "qwen": ["qwen2_5"],
    "llama3": ["llama3"],
    "gemma": ["gemma", "gemma3"],
    "phi3": ["phi3", "phi3_5"],
    "command_r": ["cohere"],
    "deepseek_r1": ["deepseekv3", "deepseek_r1_distill"],
}
"""Wires whose family has published a Jinja template: names among those that TRL holds.

Left out, each with its reason: qwen3 and its successors, glm4moe and gptoss write thoughts or
channels, which a wire has no place for; cohere2, llama3_1, llama3_2 and the lfm2 write a preamble
of their own; gemma4, nemotron and muse_glimmer have no wire; idefics3, smolvlm and llava_next take
no plain text.
"""

OPENS = {"deepseekv3", "deepseek_r1_distill"}
"""Public templates whose prompt opens a thought: the wire's is without."""

TOKENS = {"bos_token": "<bos>", "eos_token": "<eos>"}


def expected() -> dict[str, dict[str, str]]:
    with EXPECTED.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {r["name"]: {k: v.replace("\\n", "\n") for k, v in r.items()} for r in rows}


def conversation(row: Wire) -> list[Message]:
    """Return S, a, b, c, d, as far as the wire holds it."""
    texts = [("system", "S"), *zip(["user", "assistant"] * 2, "abcd", strict=True)]
    messages = [Message(role=role, content=text) for role, text in texts]
    begin = 1 if row.place == "none" else 0
    return messages[begin : 3 if row.turns == "one" else 5]


def plain(row: Wire, tokens: dict[str, str] | None = None) -> Template:
    """Return a wire's template with what stands in ‹› left as it is, or put in by `tokens`."""
    return Template(jinja(row, lambda mark: (tokens or {}).get(mark, f"‹{mark}›")), {})


@pytest.mark.parametrize("name", wires.names())
def test_every_row_writes_what_it_wrote_before(name: str) -> None:
    row, hand = wires[name], expected()[name]
    spanned = plain(row).spans(conversation(row))
    said = [spanned.text[begin:end] for begin, end in spanned.spans]
    assert (spanned.text, said[0], said[-1]) == (hand["text"], hand["first"], hand["last"])
    assert spanned.turns == tuple(
        i for i, m in enumerate(conversation(row)) if m.role == "assistant"
    )


@pytest.mark.parametrize("name", wires.names())
def test_a_prompt_is_the_beginning_of_what_is_trained(name: str) -> None:
    template, messages = plain(wires[name]), conversation(wires[name])
    spanned = template.spans(messages)
    prompt = template.render(messages[:-1], generation_prompt=True)
    assert spanned.text[: spanned.spans[-1][0]] == prompt


def test_no_row_is_left_over() -> None:
    assert expected().keys() == set(wires.names())
    assert len(wires) >= 60


@pytest.mark.parametrize("hand", BY_HAND, ids=lambda hand: str(hand["family"]))
def test_a_wire_writes_what_its_family_published(hand: dict[str, str]) -> None:
    """A line break at the very end is not compared: nothing follows it."""
    row = wire(hand["wire"])
    held = {mark: text for mark, text in hand.items() if mark in ("bos", "eos")}
    messages = conversation(row)
    if hand.get("system") == "":
        messages = [message for message in messages if message.role != "system"]
        row = replace(row, default="")
    text = plain(row, held).render(messages)
    assert text.removesuffix("\n") == hand["text"].removesuffix("\n")


def test_more_than_thirty_formats_are_written_by_hand() -> None:
    assert len({hand["wire"] for hand in BY_HAND}) > 30


@pytest.mark.parametrize(
    ("name", "public"), [(name, public) for name in PUBLIC for public in PUBLIC[name]]
)
def test_a_wire_equals_its_familys_public_template(name: str, public: str) -> None:
    trl = pytest.importorskip("trl")
    path = Path(trl.__file__).parent / "chat_templates" / f"{public}.jinja"
    theirs = Template(path.read_text(encoding="utf-8"), TOKENS)
    row, begin = wire(name), wire(name).begin
    messages = conversation(row)
    for tail in (messages, messages[:-1]):
        prompt = tail is not messages
        ours = plain(row, {"bos": "<bos>"}).render(tail, generation_prompt=prompt)
        text = theirs.render(tail, generation_prompt=prompt).removesuffix("<eos>")
        if prompt and public in OPENS:
            text = text.removesuffix("<think>\n")
        if begin.startswith("<") and begin != "<bos>":  # TOKENS have another begin of a text
            ours = ours.replace(begin, "<bos>")
        assert ours == text


def test_a_default_system_message_stands_where_none_is_given() -> None:
    text = plain(wire("qwen")).render([Message(role="user", content="a")])
    assert text.startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n")
    given = [Message(role="system", content="S"), Message(role="user", content="a")]
    assert "helpful" not in plain(wire("qwen")).render(given)


@pytest.mark.parametrize(
    ("name", "role", "what"),
    [
        ("gemma", "system", "no place for a system message"),
        ("chatml", "tool", "system, user and assistant only"),
    ],
)
def test_what_a_wire_cannot_write_is_refused(name: str, role: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        plain(wire(name)).render([Message(role=role, content="x")])


def test_a_wire_of_one_turn_refuses_a_second() -> None:
    turns = [Message(role=r, content="x") for r in ("user", "assistant", "user")]
    with pytest.raises(DataError, match="one question and its answer"):
        plain(wire("paligemma")).render(turns)


def test_a_name_that_is_none_gets_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        choose(tmp_path, "chatmll")
    assert caught.value.problems[0].fix == "write `chatml`"


def test_a_models_type_names_its_wire_and_its_vocabulary_tells_which(tmp_path: Path) -> None:
    for special, name in (([], "chatglm2"), (["<|user|>", "<sop>"], "chatglm4")):
        folder = tmp_path / name
        speaking(folder, "chatglm", special)
        text = plain(wire(name), {"bos": "<s>", "eos": "<e>"}).render(conversation(wire(name)))
        assert load(folder).render(conversation(wire(name))) == text


def test_role_tokens_are_written_by_their_number(tmp_path: Path) -> None:
    folder = speaking(tmp_path / "baichuan", "baichuan", [f"<r{i}>" for i in range(200)])
    template = load(folder)
    from swift.chat.tokenize import Tokenizer

    ids = Tokenizer.load(folder).encode(template.render([Message(role="user", content="")]))
    assert ids == [195]


def test_a_token_that_the_model_lacks_is_named(tmp_path: Path) -> None:
    folder = speaking(tmp_path / "telechat", "telechat", [])
    with pytest.raises(DataError, match="has no `user_token_id`"):
        load(folder)


def test_a_models_own_template_goes_before_its_wire(tmp_path: Path) -> None:
    folder = speaking(tmp_path / "m", "qwen", ["<|im_start|>"])
    (folder / "chat_template.jinja").write_text("mine")
    assert load(folder).source == "mine"
    assert "im_start" in choose(folder, "chatml").source


def speaking(folder: Path, type_: str, special: list[str]) -> Path:
    """Write a model folder of a type, with a byte-level tokenizer and some tokens in front."""
    tiny_tokenizer(folder, special)
    (folder / "config.json").write_text(json.dumps({"model_type": type_}))
    return folder


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("Qwen/Qwen-7B-Chat", "qwen"),
        ("baichuan2-13b-chat", "baichuan"),
        ("chatglm2-6b", "chatglm2"),
        ("chatglm3-6b", "chatglm3"),
        ("internlm-chat-7b", "internlm"),
        ("openbuddy-llama2-13b-v8.1-fp16", "openbuddy"),
        ("openbuddy-llama3-8b-v21.1-8k", "openbuddy2"),
        ("xverse-13b-chat", "xverse"),
        ("qwen3-8b", ""),
        ("bert-base-uncased-of-nobody", ""),
    ],
)
def test_a_name_of_the_catalogue_leads_to_its_familys_wire(id: str, name: str) -> None:
    row = find(id)
    assert (wire_for(row.ids, row.structure) if row else "") == name


def test_whatever_a_wire_says_of_models_is_in_the_catalogue() -> None:
    known = {row.structure for row in rows()}
    bare = {id.rpartition("/")[2].casefold() for row in rows() for id in row.ids}
    for row in wires:
        for model in filter(None, row.models.split("|")):
            assert model in known or filter_names(bare, model), f"{row.name}: {model}"
