"""Every command and every snippet of the READMEs, run in order in an empty folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"./yichuidingyin.sh --demo", "make test", ". .venv/bin/activate"}
"""The first is run by test_hammer, the second is running now, the third has been done."""


def blocks(name: str, kind: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(name: str) -> list[str]:
    lines = [line for block in blocks(name, "console") for line in block.splitlines()]
    return [re.sub(r"\s{2,}#.*$", "", line.removeprefix("$ ")).strip() for line in lines]


def code(name: str, kind: str) -> list[str]:
    """Return blocks without their comments, which are of another language."""
    return [re.sub(r"\s*#\s.*$", "", block, flags=re.MULTILINE) for block in blocks(name, kind)]


def test_both_languages_show_the_same_commands() -> None:
    assert commands("README.md") == commands("README_zh.md")
    for kind in ("yaml", "python"):
        assert code("README.md", kind) == code("README_zh.md", kind)


def test_every_file_that_is_named_exists() -> None:
    for name in ("README.md", "README_zh.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        linked = re.findall(r"\]\(([^)#:]+)\)", text)
        told = re.findall(r"`((?:tests|docs|bench|src|tools)/[\w/.]+)`", text)
        assert linked or told
        assert [p for p in {*linked, *told} if not (ROOT / p).exists()] == []


@pytest.mark.slow
def test_the_commands_work_in_order(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(blocks("README.md", "yaml")[0], encoding="utf-8")
    (tmp_path / "questions.jsonl").write_text(
        '{"query": "I want one carpet, in orange, delivered to London, for 159 dollars."}\n',
        encoding="utf-8",
    )
    for command in commands("README.md"):
        if command in ELSEWHERE:
            continue
        if command.startswith("swift serve"):
            served = command
        elif command.startswith("curl"):
            with serving(served, tmp_path) as address:
                answer = json.loads(asked(command, address, tmp_path))
            assert '"city": "London"' in answer["choices"][0]["message"]["content"]
        else:
            carried_out(command, tmp_path)
    assert (tmp_path / "runs/orders/checkpoint-564/state").is_dir(), "as `What a run leaves` says"
    assert json.loads((tmp_path / "answers.jsonl").read_text())["response"]
    torchrun = next(w for w in re.findall(r"`(torchrun [^`]+)`", (ROOT / "README.md").read_text()))
    script = torchrun.replace("train.py", str(ROOT / "train.py"))
    carried_out(f"{script} --model nano --dataset nano-orders#64 --max_steps 1", tmp_path)
    python = blocks("README.md", "python")[0]
    said = carried_out([sys.executable, "-c", python], tmp_path)
    assert "runs/python/checkpoint-4" in said


def carried_out(command: str | list[str], folder: Path) -> str:
    words = shlex.split(command) if isinstance(command, str) else command
    done = subprocess.run(
        words, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}


@contextmanager
def serving(command: str, folder: Path) -> Iterator[str]:
    """Run the README's server on a free port instead of 8000, which this machine may need."""
    words = shlex.split(command.replace("--port 8000", "--port 0"))
    log = folder / "serve.log"
    with log.open("w") as out:
        child = subprocess.Popen(words, cwd=folder, env=environment(), stdout=out, stderr=out)
    try:
        end = time.monotonic() + 120
        while "ready: " not in log.read_text():
            assert child.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        yield urlsplit(log.read_text().partition("ready: ")[2].split()[0]).netloc
    finally:
        child.terminate()
        assert child.wait(timeout=60) == 0


def asked(command: str, address: str, folder: Path) -> str:
    return carried_out(command.replace("127.0.0.1:8000", address), folder)
