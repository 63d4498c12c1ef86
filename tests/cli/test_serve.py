"""`swift serve`: what the command line means, and what stops it before a model is opened."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from swift.cli.flags import split
from swift.cli.main import main
from swift.cli.serve import _recipe
from swift.core.errors import RecipeError
from swift.engine.torch import Torch
from swift.recipe import Recipe
from swift.recipe.sections import Serve
from swift.serve.server import bind


def meant(*words: str) -> Recipe:
    return _recipe(split(words, alone=frozenset(), many=lambda name: False))


def test_a_word_is_the_model_or_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model: some/model\nserve: 9000\n")
    assert meant("runs/x").model.id == "runs/x"
    assert meant(str(file)).model.id == "some/model"
    assert meant(str(file), "--model", "other").model.id == "other"
    assert meant(str(file)).serve.port == 9000
    assert meant(str(file), "--port", "9001").serve.port == 9001


def test_the_missions_names_are_known() -> None:
    recipe = meant("--model_type=nano", "--serving_backend=torch", "--port=8001")
    assert (recipe.model.id, recipe.engine, recipe.serve.port) == ("nano", Torch(), 8001)
    assert meant("--infer_backend", "pt").engine == Torch()


def test_options_of_the_engine_are_flags() -> None:
    recipe = meant("--engine.max_batch", "16", "--host", "localhost")
    assert recipe.engine == Torch(max_batch=16)
    assert recipe.serve.host == "localhost"


@pytest.mark.parametrize("name", ["vllm", "sglang", "lmdeploy"])
def test_an_engine_of_a_later_version_says_so(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "nano", "--serving_backend", name]) == 2
    said = capsys.readouterr().err
    assert (
        f"the engine `{name}` comes with a later version\n     fix: write `server` or `torch`"
        in said
    )


def test_two_models_are_one_too_many() -> None:
    with pytest.raises(RecipeError, match="one model at a time, not `a`, `b`"):
        meant("a", "b")


def test_a_missing_model_is_said_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    assert meant().model.id == "nano"
    assert capsys.readouterr().err == "no model given, so `nano` is used\n"


def test_a_taken_port_is_the_machines_trouble(capsys: pytest.CaptureFixture[str]) -> None:
    with bind(Serve(port=0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "no/such/model", "--port", str(port)]) == 3
    said = capsys.readouterr().err
    assert f"port {port} of 127.0.0.1 cannot be had" in said
    assert "fix: --port 0" in said


def test_an_address_that_is_not_ours_is_the_machines_trouble(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--host", "192.0.2.1", "--serve.api_key", "s3cret-key", "--port", "0"]
    assert main(["serve", "nano", *words]) == 3
    assert "192.0.2.1 cannot be had" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_nobody_is_open_to_others_without_a_key(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "nano", "--host", host]) == 2
    assert "there is no key" in capsys.readouterr().err


def test_a_free_port_is_listened_on_from_the_start() -> None:
    with bind(Serve(port=0)) as listener, socket.create_connection(listener.getsockname()):
        assert listener.getsockname()[0] == "127.0.0.1"


def test_help_lists_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {flag}" in said for flag in ("--serve.port", "--engine.max_batch", "--adapter"))
    assert "--train.epochs" not in said


def test_the_verb_loads_nothing_before_there_is_work() -> None:
    code = "import sys, swift.cli.serve; print(*{'torch','starlette','uvicorn'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
