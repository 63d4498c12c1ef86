"""Claims about calls: read back as they are spelt, however the answer is cut; nothing is lost."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swift.chat.channels import Channels, Thought
from swift.chat.message import Message
from swift.chat.template import Template
from swift.chat.tools import Call, Reader, Style, read_calls, reader_of, style_of, styles

STYLES = {style.name: style for style in styles}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "find",
            "description": "Find things.",
            "parameters": {
                "type": "object",
                "properties": {"what": {"type": "string"}, "most": {"type": "integer"}},
            },
        },
    }
]
CALL = Call("find", '{"what": "a }\\" b", "most": 3}')
PAIRS = Call("find", '{"what": "7", "most": 3}')

SPELT = {
    "hermes": (
        '<tool_call>\n{"name": "find", "arguments": {"what": "a }\\" b", "most": 3}}\n</tool_call>',
        CALL,
    ),
    "qwen_xml": (
        "<tool_call>\n<function=find>\n<parameter=what>\n7\n</parameter>\n<parameter=most>\n3\n"
        "</parameter>\n</function>\n</tool_call>",
        PAIRS,
    ),
    "glm": (
        "<tool_call>find\n<arg_key>what</arg_key>\n<arg_value>7</arg_value>\n<arg_key>most</arg_key>"
        "\n<arg_value>3</arg_value>\n</tool_call>",
        PAIRS,
    ),
    "deepseek_v3": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>find\n```json\n"
        '{"what": "a }\\" b", "most": 3}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        CALL,
    ),
    "deepseek_v3_1": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>find<｜tool▁sep｜>"
        '{"what": "a }\\" b", "most": 3}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        CALL,
    ),
    "mistral": (
        '[TOOL_CALLS] [{"name": "find", "arguments": {"what": "a }\\" b", "most": 3}}]',
        CALL,
    ),
    "mistral_args": ('[TOOL_CALLS]find[ARGS]{"what": "a }\\" b", "most": 3}', CALL),
    "cohere": (
        '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "find", '
        '"parameters": {"what": "a }\\" b", "most": 3}}]<|END_ACTION|>',
        CALL,
    ),
    "lfm2": (
        "<|tool_call_start|>[find(what='a }\" b', most=3)]<|tool_call_end|>",
        CALL,
    ),
    "gemma4": (
        '<|tool_call>call:find{most:3,what:<|"|>a }" b<|"|>}<tool_call|>',
        Call("find", '{"most": 3, "what": "a }\\" b"}'),
    ),
    "harmony": (
        "<|channel|>commentary to=functions.find <|constrain|>json<|message|>"
        '{"what": "a }\\" b", "most": 3}<|call|>',
        CALL,
    ),
    "llama3": ('{"name": "find", "parameters": {"what": "a }\\" b", "most": 3}}', CALL),
}
"""A call in every style, as its models write it."""

PUBLIC = {
    "qwen2_5": "hermes",
    "qwen3": "hermes",
    "qwen3_vl": "hermes",
    "qwen3_5_think": "qwen_xml",
    "nemotron_3_nano": "qwen_xml",
    "glm4moe": "glm",
    "deepseekv3": "deepseek_v3",
    "llama3_1": "llama3",
    "llama3_2": "llama3",
    "lfm2_2_5": "lfm2",
    "gemma4": "gemma4",
    "gemma4_v5": "gemma4",
    "gptoss": "harmony",
}
"""Public templates and the style that their own text tells."""


def cut(text: str, places: Sequence[int]) -> list[str]:
    """Cut a text at places, taken modulo its length."""
    at = sorted({p % (len(text) + 1) for p in places})
    return [text[b:e] for b, e in zip([0, *at], [*at, len(text)], strict=True)]


def pushed(style: Style, parts: Sequence[str]) -> tuple[str, list[Call]]:
    reader = reader_of(style, TOOLS)
    pieces = [piece for part in parts for piece in reader.push(part)] + reader.end()
    said = "".join(p for p in pieces if isinstance(p, str))
    return said, [p for p in pieces if isinstance(p, Call)]


def test_every_style_has_its_example() -> None:
    assert SPELT.keys() == STYLES.keys()


@pytest.mark.parametrize("name", SPELT)
def test_a_call_is_read_back(name: str) -> None:
    spelt, call = SPELT[name]
    assert read_calls(spelt, STYLES[name], TOOLS) == ("", [call])


@pytest.mark.parametrize("name", [n for n in SPELT if n not in ("llama3", "harmony")])
def test_words_before_a_call_are_text(name: str) -> None:
    spelt, call = SPELT[name]
    assert read_calls(f"Let me see.\n\n{spelt}\n", STYLES[name], TOOLS) == ("Let me see.", [call])


@pytest.mark.parametrize("name", [n for n in SPELT if STYLES[n].close and n != "harmony"])
def test_two_calls_with_words_between_come_in_order(name: str) -> None:
    spelt, call = SPELT[name]
    said = read_calls(f"{spelt}\nand\n{spelt}\nbye", STYLES[name], TOOLS)
    assert said == ("andbye", [call, call])


@pytest.mark.parametrize("name", SPELT)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_however_an_answer_is_cut_it_says_the_same(name: str, data: st.DataObject) -> None:
    """The answer is made of calls, broken calls, marks and words."""
    spelt = SPELT[name][0]
    broken = st.integers(0, len(spelt)).map(lambda n: spelt[:n])
    marks = [*STYLES[name].opens, STYLES[name].close, "\n", " ", '"', "{", "}", "<", "x", "é🙂"]
    parts = st.lists(st.one_of(st.just(spelt), broken, st.sampled_from(marks)), max_size=6)
    text = "".join(data.draw(parts))
    places = data.draw(st.lists(st.integers(0, 10_000), max_size=12))
    whole = read_calls(text, STYLES[name], TOOLS)
    assert pushed(STYLES[name], cut(text, places)) == whole
    assert pushed(STYLES[name], list(text)) == whole
    if not whole[1] and not STYLES[name].channels:
        assert whole[0] == text


@pytest.mark.parametrize("name", SPELT)
@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_text_without_calls_comes_out_as_it_went_in(name: str, text: str) -> None:
    for said in (text, STYLES[name].opens[0] + text):
        if not read_calls(said, STYLES[name])[1]:
            assert read_calls(said, STYLES[name]) == (said, [])
        assert pushed(STYLES[name], list(said)) == read_calls(said, STYLES[name], TOOLS)


def test_words_are_told_as_they_come() -> None:
    reader = Reader(STYLES["hermes"])
    assert reader.push("Let me ") == ["Let me"]  # the blank may belong to a call
    assert reader.push("see <") == [" see"]
    assert reader.push("b>") == [" <b>"]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        "[1]",
        "no JSON",
        '{"name": "find"}',
        '{"name": 1, "arguments": {}}',
        '{"name": "find", "arguments": [1]}',
        '{"name": "find", "arguments": {"x": NaN}}',
        '{"name": "find", "arguments": {"x": 1e999}}',
        '{"name": "fi\\ud800nd", "arguments": {}}',
        "[" * 100_000,
    ],
)
def test_what_looks_like_a_call_and_is_none_is_text(body: str) -> None:
    text = f"a <tool_call>{body}</tool_call> b"
    assert read_calls(text, STYLES["hermes"]) == (text, [])


def test_a_call_after_a_broken_one_is_found() -> None:
    spelt, call = SPELT["hermes"]
    assert read_calls(f"<tool_call>{{ {spelt}", STYLES["hermes"]) == ("<tool_call>{", [call])


def test_a_close_within_a_text_closes_nothing() -> None:
    said = '<tool_call>{"name": "f", "arguments": {"x": "</tool_call>"}}</tool_call>'
    assert read_calls(said, STYLES["hermes"])[1] == [Call("f", '{"x": "</tool_call>"}')]


def test_json_is_a_call_only_of_a_tool_that_was_offered() -> None:
    said = '{"name": "find", "parameters": {}}'
    assert read_calls(said, STYLES["llama3"], TOOLS)[1] == [Call("find", "{}")]
    assert read_calls(said, STYLES["llama3"], ()) == (said, [])


def test_half_a_letter_in_an_argument_stays_json_that_can_be_sent() -> None:
    said = '<tool_call>{"name": "f", "arguments": {"x": "\\ud800"}}</tool_call>'
    (call,) = read_calls(said, STYLES["hermes"])[1]
    assert call.arguments.encode() == b'{"x": "\\ud800"}'


@pytest.mark.parametrize("name", PUBLIC)
def test_what_a_public_template_writes_of_a_call_is_read_back(name: str) -> None:
    trl = pytest.importorskip("trl")
    folder = Path(trl.__file__).parent / "chat_templates"
    source = (folder / f"{name}.jinja").read_text(encoding="utf-8")
    style = style_of(source)
    assert style is not None
    assert style.name == PUBLIC[name]
    template = Template(source, {"bos_token": "<bos>", "eos_token": "<eos>"})
    arguments: Any = {"what": "Zoë", "most": 3}
    if style.name == "deepseek_v3":  # its template joins texts
        arguments = json.dumps(arguments, ensure_ascii=False)
    asked = {"type": "function", "function": {"name": "find", "arguments": arguments}}
    chat = [
        Message(role="user", content="x"),
        Message(role="assistant", content="", more={"tool_calls": [asked]}),
    ]
    spanned = template.spans(chat, TOOLS)
    said = "".join(spanned.text[b:e] for b, e in spanned.spans)
    for end in ("<|im_end|>", "<|eot_id|>", "<｜end▁of▁sentence｜>", "<|tool_response>"):
        said = said.partition(end)[0]
    (call,) = read_calls(said, style, TOOLS)[1]
    assert (call.name, json.loads(call.arguments)) == ("find", {"what": "Zoë", "most": 3})


def test_a_template_without_tools_has_no_style() -> None:
    assert style_of("{% for m in messages %}{{ m.content }}{% endfor %}") is None


HARMONY = (
    "<|channel|>analysis<|message|>The user wants trees.<|end|>"
    "<|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
    '<|start|>assistant to=functions.find<|channel|>commentary json<|message|>{"most": 3}<|call|>'
)


def test_of_messages_thoughts_calls_and_words_are_told_apart() -> None:
    reader = Channels(STYLES["harmony"])
    pieces = [*reader.push(HARMONY), *reader.end()]
    call = Call("find", '{"most": 3}')
    assert pieces == [Thought("The user wants trees."), "I look.", call]


@pytest.mark.parametrize("head", ["", "<|start|>assistant", " to=functions.find"])
def test_a_message_may_begin_where_the_prompt_ends(head: str) -> None:
    text = f"{head}<|channel|>commentary json<|message|>" + '{"most": 3}'
    said = read_calls(text, STYLES["harmony"])
    assert said == (("", [Call("find", '{"most": 3}')]) if "to=" in head else ('{"most": 3}', []))


@settings(max_examples=100, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(
            [
                *("<|channel|>", "<|start|>", "assistant", "final", "analysis", "commentary", " "),
                *(
                    "<|message|>",
                    "<|end|>",
                    "<|call|>",
                    " to=functions.find",
                    "{}",
                    "<",
                    "|",
                    "é🙂",
                ),
                HARMONY,
            ]
        ),
        max_size=12,
    ),
    places=st.lists(st.integers(0, 10_000), max_size=12),
)
def test_messages_say_the_same_however_they_are_cut(parts: list[str], places: list[int]) -> None:
    text = "".join(parts)
    whole = heard([text])
    assert heard(cut(text, places)) == whole
    assert heard(list(text)) == whole


def heard(parts: Sequence[str]) -> tuple[str, str, list[Call]]:
    reader = Channels(STYLES["harmony"])
    pieces = [piece for part in parts for piece in reader.push(part)] + reader.end()
    return (
        "".join(p for p in pieces if isinstance(p, str)),
        "".join(p.text for p in pieces if isinstance(p, Thought)),
        [p for p in pieces if isinstance(p, Call)],
    )


def test_words_of_a_message_are_told_as_they_come() -> None:
    reader = Channels(STYLES["harmony"])
    assert reader.push("<|channel|>final<|message|>Good m") == ["Good m"]
    assert reader.push("orning<|re") == ["orning<|re"]
    assert reader.push("x<|e") == ["x"]  # the message may end here
    assert reader.end() == ["<|e"]


@pytest.mark.parametrize("arguments", ["", "{", "[1]", "no"])
def test_a_message_to_a_tool_that_is_no_json_is_text(arguments: str) -> None:
    text = f" to=functions.find<|channel|>commentary json<|message|>{arguments}"
    assert read_calls(text, STYLES["harmony"]) == (text, [])


@pytest.mark.parametrize(
    ("bare", "arguments"),
    [
        ("", {}),
        ('a:<|"|>x}, b:1<|"|>', {"a": "x}, b:1"}),
        (
            'a:[1,<|"|>q"<|"|>,null],b:{<|"|>c d<|"|>:true}',
            {"a": [1, 'q"', None], "b": {"c d": True}},
        ),
        ('a:<|"|><tool_call|><|"|>', {"a": "<tool_call|>"}),
        ("a:-1.5e3", {"a": -1500.0}),
    ],
)
def test_gemmas_bare_arguments_are_read(bare: str, arguments: dict[str, Any]) -> None:
    said, (call,) = read_calls(f"<|tool_call>call:f{{{bare}}}<tool_call|>", STYLES["gemma4"])
    assert (said, call.name, json.loads(call.arguments)) == ("", "f", arguments)


@pytest.mark.parametrize("bare", ["a", "a:", "a:b", 'a:<|"|>x', "a:1}{b:2"])
def test_what_gemma_spells_wrongly_is_text(bare: str) -> None:
    text = f"<|tool_call>call:f{{{bare}}}<tool_call|>"
    assert read_calls(text, STYLES["gemma4"]) == (text, [])


@pytest.mark.parametrize("name", SPELT)
def test_a_call_goes_on_from_its_forced_beginning(name: str) -> None:
    spelt, call = SPELT[name]
    style = STYLES[name]
    begun = style.begun("find")
    assert begun.startswith(style.begun(""))
    assert style.begun("").endswith(begun.partition("find")[0])
    rest = {"harmony": json.dumps(json.loads(call.arguments))}.get(name)
    if rest is None:
        squeezed, head = ("".join(t.split()) for t in (spelt, begun))
        shared = head.replace('"tool_call_id":"0",', "")  # either order of keys is one call
        assert squeezed.replace('"tool_call_id":"0",', "").startswith(shared)
        at = next(i for i in range(len(spelt) + 1) if "".join(spelt[:i].split()) == head)
        rest = spelt[at:]
    assert read_calls(begun + rest, style, TOOLS) == ("", [call])


HEADS = {
    "qwen_xml": ("<function=a>", "<function=a><parameter=b>"),
    "glm": ("a", "a<arg_key>", "a<arg_key>b</arg_key>"),
    "deepseek_v3": ("<｜tool▁call▁begin｜>function<｜tool▁sep｜>a\n```json\n",),
    "deepseek_v3_1": ("<｜tool▁call▁begin｜>a<｜tool▁sep｜>",),
    "gemma4": ("call:a{", "call:a{b:"),
    "mistral_args": ("a[ARGS]",),
}
PARTS = (
    *(" ", "\n", "a", '"', "\\", "{", "[", "}", "a=", ",", "f(a=", "a:"),
    *("<parameter=a>\n", "<function=a>", "</arg_key><arg_value>", "</arg_key> ", '<|"|>'),
)


def read_hostile(name: str) -> None:
    """Be a process that reads answers which repeat what a style's patterns look for, endlessly."""
    style = STYLES[name]
    close = style.close.partition(" ")[0]
    for head, part in itertools.product(("", *HEADS.get(name, ())), PARTS):
        long = part * (40_000 // len(part))
        read_calls(f"{style.opens[0]}{head}{long}{{x{close}", style, TOOLS)


def test_no_answer_takes_long_to_read() -> None:
    code = f"import tests.chat.test_tools as t; [t.read_hostile(n) for n in {sorted(STYLES)!r}]"
    words = [sys.executable, "-W", "ignore", "-c", code]
    root = Path(__file__).parents[2]
    assert subprocess.run(words, cwd=root, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("part", ["<parameter=a>\n", "<parameter=a>x</parameter>", " "])
def test_between_arguments_nothing_is_searched_for(part: str) -> None:
    body = f"<function=find>{part * 50_000}!</function>"
    assert read_calls(f"<tool_call>{body}</tool_call>", STYLES["qwen_xml"])[1] == []


def test_an_escaped_quote_does_not_end_a_text() -> None:
    call = '{"name": "find", "arguments": {"what": "\\\\\\" </tool_call> \\\\"}}'
    said = f"<tool_call>{call}</tool_call>"
    _, calls = read_calls(said, STYLES["hermes"])
    assert [json.loads(call.arguments) for call in calls] == [{"what": '\\" </tool_call> \\'}]
