"""A token that cannot be sent is never told, and an address that is none is explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from swift.core.errors import UserError
from swift.hub.fetch import fetch
from swift.hub.push import destination
from swift.hub.web import Patience, Unreachable, way
from tests.hub.test_fetch import HUBS, QUICK, TINY, world
from tests.hub.world import World

__all__ = ["world"]

VARIABLES = {"huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}
ADDRESSES = {"huggingface": "HF_ENDPOINT", "modelscope": "MODELSCOPE_ENDPOINT"}
BROKEN = ["hf_SECRET\nx", "hf_SÉCRET", "hf_SECRET\rX-More: 1", "hf_SECRET x", "hf_SECRET;x"]


@pytest.mark.parametrize("hub", HUBS)
@pytest.mark.parametrize("token", BROKEN)
def test_a_token_with_a_strange_character_is_refused_and_never_told(
    world: World, monkeypatch: pytest.MonkeyPatch, hub: str, token: str
) -> None:
    monkeypatch.setenv(VARIABLES[hub], token)
    with pytest.raises(UserError, match="holds a character no token has") as raised:
        fetch(TINY, hub=hub, patience=QUICK)
    assert VARIABLES[hub] in str(raised.value)
    assert "CRET" not in str(raised.value) and not world.log


def test_a_strange_token_of_a_flag_or_a_login_is_named_by_its_place(
    world: World, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="--token holds a character no token has"):
        destination("huggingface", "hf_x\ny")
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_SECRET\nx")
    with pytest.raises(UserError, match=r"hf/token holds a character") as raised:
        fetch(TINY, hub="huggingface", patience=QUICK)
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("hub", HUBS)
def test_blanks_around_a_token_are_not_sent(
    world: World, monkeypatch: pytest.MonkeyPatch, hub: str
) -> None:
    monkeypatch.setenv(VARIABLES[hub], "\n")
    there = destination(hub, " hf_x\n")
    assert not isinstance(there, Path) and there.token == "hf_x"
    monkeypatch.setenv(VARIABLES[hub], "hf_x\r\n")
    fetch(TINY, hub=hub, patience=QUICK)
    assert world.log[0].secret == "Bearer hf_x"


def test_a_header_that_cannot_be_sent_is_neither_told_nor_tried_again(world: World) -> None:
    tries: list[str] = []
    web = way(Patience(tries=3, first=60.0))  # a second try would wait for a minute

    def once() -> object:
        tries.append("")
        return web.open(world.address, {"Authorization": "Bearer hf_SECRET\nx"})

    with pytest.raises(Unreachable, match="malformed") as raised:
        web.patiently(once)
    assert "SECRET" not in str(raised.value) and len(tries) == 1
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("hub", HUBS)
@pytest.mark.parametrize(
    "said",
    ["http://[::1", "http://:80", "ftp://hub", "http://hub:x", "http://a b", "http://u:SEC@h"],
)
def test_what_is_no_address_is_explained(
    world: World, monkeypatch: pytest.MonkeyPatch, hub: str, said: str
) -> None:
    monkeypatch.setenv(ADDRESSES[hub], said)
    with pytest.raises(UserError, match=rf"(?s){ADDRESSES[hub]}.*fix") as raised:
        fetch(TINY, hub=hub, patience=QUICK)
    assert "SEC" not in str(raised.value)


@pytest.mark.parametrize("hub", HUBS)
def test_a_redirect_to_a_file_is_said_to_be_one(world: World, hub: str) -> None:
    world.refuse[""] = [(302, {"Location": "file:///etc/passwd"})]
    with pytest.raises(UserError) as raised:
        fetch(TINY, hub=hub, patience=QUICK)
    said = str(raised.value)
    assert f"127.0.0.1:{world.port} answers 302: it redirects to a `file:` address" in said
    assert "try later" not in said and "passwd" not in said
