"""A torchrun of the user's own: rank 0 plans, the others follow, a restart goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from swift.checkpoint import newest, read_card
from swift.core.events import read_events
from swift.run.save import digest_of
from tests.kit import chat_rows, tiny_chat_model

pytestmark = pytest.mark.slow
TRAIN = Path(__file__).parents[2] / "train.py"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torchrun")
    tiny_chat_model(folder / "model")
    chat_rows(folder / "rows.jsonl", 40)
    return folder


def flags(base: Path, *more: str) -> list[str]:
    named = ["--model", str(base / "model"), "--dataset", str(base / "rows.jsonl")]
    return [*named, "--parallel_strategy=ddp", "--batch_size=8", "--use_lora=False", *more]


def torchrun(base: Path, *more: str, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return subprocess.Popen(
        [*command, *options, str(TRAIN), *flags(base, *more)],
        cwd=base,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_it_ends_in_the_bytes_of_swifts_own_torchrun(base: Path, tmp_path: Path) -> None:
    steps = ("--max_steps", "4")
    child = torchrun(base, *steps, "--output_dir", str(tmp_path / "a"))
    said, _ = child.communicate(timeout=300)
    assert child.returncode == 0, said
    assert said.count("run folder") == 1, "every rank talks"
    own = [sys.executable, "-m", "swift", "sft", *flags(base, *steps), "--nproc_per_node", "2"]
    done = subprocess.run(
        [*own, "--output_dir", str(tmp_path / "b")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    a, b = newest(tmp_path / "a"), newest(tmp_path / "b")
    assert a is not None and b is not None
    assert read_card(a).world == 2
    assert digest_of(a) == digest_of(b)


def test_a_mistake_is_told_once_and_ends_in_its_exit_code(base: Path) -> None:
    child = torchrun(base, "--learning_rat", "1")
    said, _ = child.communicate(timeout=300)
    assert child.returncode != 0
    assert said.count("no key `learning_rat`") == 1
    assert "Traceback" not in said.partition("torch/distributed")[0]


def test_processes_started_again_go_on_in_the_same_folder(base: Path, tmp_path: Path) -> None:
    """Without an output_dir a new start would take a new name under runs/."""
    (tmp_path / "runs").mkdir()
    child = torchrun(base, "--max_steps", "400", "--save_every", "2", options=("--max-restarts=1",))
    folder = base / "runs" / "model-sft-001"
    wait_for(lambda: newest(folder) is not None, child)
    ranks = ranks_of(child.pid)
    os.kill(ranks[-1], signal.SIGKILL)
    wait_for(lambda: any(e["event"] == "resume" for e in events(folder)), child)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=120)
    assert [p.name for p in (base / "runs").iterdir()] == ["model-sft-001"]


def events(folder: Path) -> list[dict[str, object]]:
    return list(read_events(folder / "events.jsonl"))


def wait_for(true: object, child: subprocess.Popen[str]) -> None:
    assert callable(true)
    end = time.monotonic() + 240
    while not true():
        assert child.poll() is None and time.monotonic() < end, child.communicate()[0]
        time.sleep(0.05)


def ranks_of(agent: int) -> list[int]:
    """Return the process ids of the ranks under a torchrun."""
    children = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
    return [int(pid) for pid in children]


def test_nothing_is_imported_from_the_folder_that_a_command_is_given_in(
    base: Path, tmp_path: Path
) -> None:
    for name in ("torch", "swift", "json", "numpy", "transformers"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write(name)\n")
    swift = Path(sys.executable).with_name("swift")
    wanted = ("--max_steps", "1", "--nproc_per_node", "2", "--output_dir", str(tmp_path / "run"))
    done = subprocess.run(
        [str(swift), "sft", *flags(base, *wanted)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not (tmp_path / "ran").exists()
    assert done.returncode == 0, done.stderr
    assert newest(tmp_path / "run") is not None


def test_no_module_of_ours_is_started_with_the_folder_at_hand_on_its_path() -> None:
    for path in (TRAIN.parent / "src").rglob("*.py"):
        text = " ".join(path.read_text(encoding="utf-8").split())
        assert 'sys.executable, "-m"' not in text, f"{path}: -P goes before -m"
