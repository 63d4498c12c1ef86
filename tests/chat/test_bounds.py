"""Claims about templates that are bad programs: they end, and it is said why."""

from __future__ import annotations

from pathlib import Path

import pytest

from swift.chat import _bounds
from swift.chat.endless import Endless
from swift.chat.message import Message
from swift.chat.speaker import Speaker
from swift.chat.template import Template
from swift.chat.tokenize import Tokenizer
from swift.chat.verify import verify
from swift.core.errors import DataError
from tests.kit import tiny_chat_model

ASK = [Message(role="user", content="a b")]
FOREVER = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(9) %}{% for b in range(99999) if range(99999)|sum < 0 %}{% endfor %}"
    "{% endfor %}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
)
TOO_LARGE = (
    "{{ '%1000000000d'|format(1) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (1000000000, 1) }}",
    "{{ '{:1000000000d}'.format(1) }}",
    "{{ '{:{w}}'.format(1, w=1000000000) }}",
    "{{ 'a' * 10**9 }}",
    "{{ [0] * 10**9 }}",
    "{{ 9**(9**9) }}",
    "{{ 'a'|center(10**9) }}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ 'a\\nb'|indent(10**9) }}",
    "{{ [1]|tojson(indent=10**9) }}",
    "{{ [1]|batch(10**9, 0)|list }}",
    "{{ 1|round(10**9, 'ceil') }}",
    "{% set a = 'a' * 10**6 %}{{ a|replace('a', a) }}",
    "{% set a = 'a' * 10**6 %}{{ a.replace('a', a) }}",
    "{% set a = 'a' * 10**6 %}{{ range(99999)|join(a) }}",
    "{% set a = 'a' * 10**6 %}{% for i in range(999) %}{{ a }}{% endfor %}",
    "{% set n = namespace(a='aa') %}{% for i in range(99) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
    "{% set n = namespace(a='aa') %}{% for i in range(99) %}{% set n.a = n.a + n.a %}{% endfor %}",
    "{% set n = namespace(a=[0]) %}{% for i in range(99) %}{% set n.a = n.a + n.a %}{% endfor %}",
)


@pytest.mark.parametrize("source", TOO_LARGE)
def test_what_gets_too_large_is_refused_before_it_is_made(source: str) -> None:
    with pytest.raises(Endless, match="does too much"):
        Template(source, {}).render(ASK, generation_prompt=True)


@pytest.mark.parametrize("source", FOREVER)
def test_what_does_not_end_is_ended(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bounds, "SECONDS", 0.05)
    with pytest.raises(Endless, match="takes more than"):
        Template(source, {}).render(ASK, generation_prompt=True)


def test_a_template_that_does_not_end_is_refused_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bounds, "SECONDS", 0.05)
    folder = tiny_chat_model(tmp_path / "model")
    endless, tokenizer = Template(FOREVER[0], {}), Tokenizer.load(folder)
    assert list(verify(endless, tokenizer).wrong) == ["one turn"], "it is tried once"
    with pytest.raises(Endless):
        _ = Speaker(tokenizer, endless).stop_ids


@pytest.mark.parametrize(
    "source",
    [
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{% if true %}" * 500 + "{% endif %}" * 500,
        "{% for i in x %}" * 30 + "{% endfor %}" * 30,
        "{{ lipsum() }}",
    ],
)
def test_what_cannot_be_run_is_an_error_of_data(source: str) -> None:
    with pytest.raises(DataError, match="chat template"):
        Template(source, {}).render(ASK, generation_prompt=True)


def test_what_chats_do_is_done() -> None:
    source = (
        "{{ '**%s** %d' % ('a', 1700000000) }} {{ '{}'.format(1700000000) }} {{ 'a' ~ 1 ~ none }}"
        " {{ '-' * 3 }} {{ [1] + [2] }} {{ 2**10 }} {{ 'ab'|center(4) }}|"
        "{{ ['a', 'b']|join(', ') }}"
        "{% for i in range(3) if i > 1 %} {{ i }}{{ loop.index }}{% endfor %}"
        " {{ 'aXb'.find('X', 1) }}"
    )
    wanted = "**a** 1700000000 1700000000 a1None --- [1, 2] 1024  ab |a, b 21 1"
    assert Template(source, {}).render(ASK, generation_prompt=True) == wanted
