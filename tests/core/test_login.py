"""The token of ModelScope's client is read, and nothing of its file is run."""

from __future__ import annotations

import os
import pickle
import time
from http.cookiejar import Cookie
from pathlib import Path
from typing import Any

import pytest

from swift.core.env import hubs
from swift.core.login import session_of


class Jar:
    """Holds cookies as a jar of `requests` does: domain -> path -> name."""

    def __init__(self, **cookies: Cookie) -> None:
        self._cookies = {"modelscope.cn": {"/": cookies}}


class Trap:
    """Makes a folder when it is unpickled as pickles usually are."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._place),)


def cookie(name: str, value: str, expires: float | None) -> Cookie:
    whole: list[Any] = [0, name, value, None, False, "modelscope.cn", True, False, "/", True, False]
    return Cookie(*whole, expires, False, None, None, {})  # type: ignore[call-arg]


def test_the_token_is_found_among_cookies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jar = Jar(other=cookie("csrf", "x", None), own=cookie("m_session_id", "T", time.time() + 99))
    place = tmp_path / "credentials" / "cookies"
    place.parent.mkdir()
    place.write_bytes(pickle.dumps(jar))
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path))
    monkeypatch.delenv("MODELSCOPE_API_TOKEN", raising=False)
    assert hubs().modelscope_token == "T"
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "said")
    assert hubs().modelscope_token == "said"


def test_one_that_has_expired_is_none(tmp_path: Path) -> None:
    (tmp_path / "cookies").write_bytes(pickle.dumps(Jar(a=cookie("m_session_id", "T", 1.0))))
    assert session_of(tmp_path / "cookies") == ""


def test_what_the_file_would_run_is_not_run(tmp_path: Path) -> None:
    trap = pickle.dumps([Trap(tmp_path / "sprung")])
    (tmp_path / "cookies").write_bytes(trap)
    assert session_of(tmp_path / "cookies") == ""
    assert not (tmp_path / "sprung").exists()
    pickle.loads(trap)
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("data", [b"", b"no pickle", pickle.dumps(3), pickle.dumps(Jar())[:-9]])
def test_a_broken_file_is_no_token(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "cookies").write_bytes(data)
    assert session_of(tmp_path / "cookies") == ""
