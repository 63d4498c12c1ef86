"""The one hammer, end to end, in a copy of the repository: installing, guiding, and the demo."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from swift.run.server import born
from tests.e2e.shelf import REPOSITORY, index, wheel

pytestmark = pytest.mark.slow

STAGES = 8
FINISHED = '"reason": "finished"'


def copy(folder: Path) -> Path:
    """Copy what a clone holds of the hammer and the package."""
    folder.mkdir(parents=True)
    for name in ("yichuidingyin.sh", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    shutil.copytree(REPOSITORY / "tools", folder / "tools")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(REPOSITORY / "src", folder / "src", ignore=ignored)
    return folder


def surroundings(folder: Path, shelf: Path) -> dict[str, str]:
    """Return an environment without GPU, whose pip knows one index."""
    tools = folder / "tools-first"
    tools.mkdir(parents=True, exist_ok=True)
    (tools / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    (tools / "nvidia-smi").chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if k[:4] not in ("PIP_", "PYTH", "SWIF", "VIRT")}
    return {
        **kept,
        "PATH": f"{tools}:{kept['PATH']}",
        "PYTHON": str(getattr(sys, "_base_executable", sys.executable)),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": shelf.as_uri(),
        "PIP_NO_CACHE_DIR": "1",
        "SWIFT_LANG": "en",
        "SWIFT_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return index(tmp_path_factory.mktemp("shelf"))


class Hammer:
    """A copy with its .venv, whose Python had no ensurepip; heavy packages come from this one."""

    def __init__(self, folder: Path, shelf: Path) -> None:
        self.root = copy(folder / "deep" / "swift")
        blind = folder / "blind"
        blind.mkdir()
        (blind / "ensurepip.py").write_text("raise ImportError('split off by the distribution')")
        bare = surroundings(folder, shelf)
        self.installed = subprocess.run(
            ["sh", str(self.root / "tools" / "setup.sh"), "run"],
            env={**bare, "PYTHONPATH": str(blind)},
            cwd="/",
            capture_output=True,
            text=True,
        )
        link = folder / "links" / "hammer"
        link.parent.mkdir()
        (link.parent / "other").symlink_to("../deep/swift/yichuidingyin.sh")
        link.symlink_to("other")
        self.link = link
        self.env = {**bare, "PYTHONPATH": sysconfig.get_paths()["purelib"]}

    def start(self, cwd: Path, *words: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.link), *words],
            cwd=cwd,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, cwd: Path, *words: str, **env: str) -> tuple[int, str, str]:
        with self.start(cwd, *words, **env) as child:
            out, err = child.communicate(timeout=300)
        return child.returncode, out, err


@pytest.fixture(scope="module")
def hammer(tmp_path_factory: pytest.TempPathFactory, shelf: Path) -> Hammer:
    made = Hammer(tmp_path_factory.mktemp("hammer"), shelf)
    assert made.installed.returncode == 0, made.installed.stdout + made.installed.stderr
    return made


# --- installing --------------------------------------------------------------------------------


def test_it_installs_without_ensurepip_and_says_each_step(hammer: Hammer) -> None:
    said = hammer.installed.stdout
    assert re.findall(r"^\[\d/\d\] \w+", said, re.MULTILINE) == [
        "[1/3] making",
        "[2/3] installing",
        "[3/3] installing",
    ]
    assert re.search(r"^swift \d", said, re.MULTILINE)
    assert "\x1b" not in said + hammer.installed.stderr
    packages = {p.name.split("-")[0] for p in hammer.root.glob(".venv/lib/*/*/*.dist-info")}
    assert {"torch", "transformers", "swift_llm"} <= packages
    assert "pytest" not in packages, "the tools of development are not for users"


def test_what_is_done_is_skipped(hammer: Hammer, tmp_path: Path) -> None:
    code, out, err = hammer.run(tmp_path, "--dry-run", "--yes")
    assert (code, err) == (0, "")
    assert "/3]" not in out


def test_half_a_package_is_installed_again(hammer: Hammer) -> None:
    packages = next(hammer.root.glob(".venv/lib/*/site-packages"))
    (info,) = packages.glob("tqdm-*.dist-info")
    (info / "INSTALLER").unlink()  # pip writes it last
    (packages / "tqdm" / "__init__.py").unlink()
    (hammer.root / ".venv" / ".ready-run").unlink()
    bare = {k: v for k, v in hammer.env.items() if k != "PYTHONPATH"}
    setup = ["sh", str(hammer.root / "tools" / "setup.sh"), "run"]
    subprocess.run(setup, env=bare, check=True, capture_output=True)
    assert (packages / "tqdm" / "__init__.py").is_file()
    assert (info / "INSTALLER").is_file()


def test_a_killed_installation_is_repaired(tmp_path: Path, shelf: Path) -> None:
    root, env = copy(tmp_path / "swift"), surroundings(tmp_path, shelf)
    words = ["sh", str(root / "tools" / "setup.sh"), "run"]
    draw = random.Random(4)
    for moment in sorted(draw.uniform(0.2, 8) for _ in range(4)):
        quiet = subprocess.DEVNULL
        child = subprocess.Popen(words, env=env, stdout=quiet, stderr=quiet, start_new_session=True)
        time.sleep(moment)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for package in ("pip", "torch", "tqdm"):
        subprocess.run([root / ".venv/bin/python", "-c", f"import {package}"], check=True)
    assert subprocess.run([root / ".venv/bin/swift", "--version"], check=True)


def test_a_cuda_build_is_passed_over_for_the_index_of_cpu_builds(tmp_path: Path) -> None:
    with_cuda = index(tmp_path / "cuda", torch_needs=['nvidia-cublas; platform_system == "Linux"'])
    plain = tmp_path / "cpu" / "torch"
    wheel(plain, "torch", "2.13.0+cpu")
    name = "torch-2.13.0+cpu-py3-none-any.whl"
    (plain / "index.html").write_text(f'<a href="{name}">{name}</a>')
    root, env = copy(tmp_path / "swift"), surroundings(tmp_path, with_cuda)
    env["TORCH_CPU_INDEX"] = plain.parent.as_uri()
    words = ["sh", str(root / "tools" / "setup.sh"), "run"]
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"from {plain.parent.as_uri()}" in done.stdout
    assert [p.name for p in root.glob(".venv/lib/*/*/torch-*")] == ["torch-2.13.0+cpu.dist-info"]
    assert not list(root.glob(".venv/lib/*/*/nvidia*"))


def test_what_cannot_be_had_is_named(tmp_path: Path, shelf: Path) -> None:
    root, env = copy(tmp_path / "swift"), surroundings(tmp_path, shelf)
    for name in ("python3", *(f"python3.{minor}" for minor in range(11, 15))):
        stub = tmp_path / "tools-first" / name
        stub.write_text("#!/bin/sh\nexit 1\n")
        stub.chmod(0o755)
    del env["PYTHON"]
    hammer = ["sh", str(root / "yichuidingyin.sh"), "--yes"]
    done = subprocess.run(hammer, env=env, capture_output=True, text=True)
    assert done.returncode == 3
    assert "no Python 3.11 or newer was found" in done.stderr
    done = subprocess.run(hammer, env={**env, "SWIFT_LANG": "zh"}, capture_output=True, text=True)
    assert "没有找到 Python 3.11" in done.stderr
    assert not (root / ".venv").exists()


def test_without_ensurepip_and_without_an_index_the_package_is_named(
    tmp_path: Path, shelf: Path
) -> None:
    root, env = copy(tmp_path / "swift"), surroundings(tmp_path, tmp_path / "nowhere")
    (tmp_path / "ensurepip.py").write_text("raise ImportError('split off')")
    words = ["sh", str(root / "tools" / "setup.sh"), "run"]
    done = subprocess.run(
        words, env={**env, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 3
    assert re.search(r"apt-get install python3\.\d+-venv", done.stderr)


def test_the_script_alone_uses_the_swift_that_is_installed(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "yichuidingyin.sh", tmp_path)
    script = str(tmp_path / "yichuidingyin.sh")
    fake = tmp_path / "bin" / "swift-cli"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    fake.chmod(0o755)
    env = {**os.environ, "PATH": f"{fake.parent}:/usr/bin:/bin"}
    words = [script, "--model", "a b", "--demo", "--run", "*"]
    done = subprocess.run(words, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "demo|--model|a b|--run|*|"
    bare = {**env, "PATH": "/usr/bin:/bin"}
    assert subprocess.run([script], env=bare, capture_output=True).returncode == 3


# --- the guide, through two links and from elsewhere -------------------------------------------


def test_the_guide_works_through_links_from_anywhere(hammer: Hammer, tmp_path: Path) -> None:
    rows = tmp_path / "mine.jsonl"
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    rows.write_text(json.dumps(row) + "\n")
    code, out, err = hammer.run(tmp_path, "--dry-run", "--dataset", "mine.jsonl", TERM="xterm")
    assert (code, err) == (0, "")
    assert "dataset: mine.jsonl" in out, "paths are the caller's"
    assert "\x1b" not in out
    code, out, _ = hammer.run(tmp_path, "--dry-run", SWIFT_LANG="zh_CN.UTF-8")
    assert code == 0
    assert "将要执行" in out


# --- the demo ----------------------------------------------------------------------------------

SHORT = ("--demo", "--run", "trip", "--rows", "2", "--max_steps", "30")


def no_server_lives(folder: Path) -> bool:
    """Whether no process serves what lies in `folder`, a moment after the end at the latest."""
    command = ["ps", "-eo", "pid,args"]
    for _ in range(100):
        lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
        mine = [line for line in lines if " serve " in line and str(folder / "merged") in line]
        if not mine:
            return True
        time.sleep(0.1)
    return False


def until(child: subprocess.Popen[str], stage: int) -> bool:
    """Read what `child` says up to the begin of a stage; False if it ended before."""
    assert child.stdout is not None
    return any(line.startswith(f"[{stage}/{STAGES}]") for line in child.stdout)


@pytest.fixture
def trip(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "trip"
    assert no_server_lives(tmp_path / "trip")


def test_the_journey_killed_at_five_moments_ends_well(
    hammer: Hammer, tmp_path: Path, trip: Path
) -> None:
    words = (*SHORT[:2], str(trip), *SHORT[3:])
    draw = random.Random(5)
    for stage in sorted(draw.sample(range(2, STAGES + 1), 5)):
        child = hammer.start(tmp_path, *words)
        with child:
            assert until(child, stage), child.stderr.read() if child.stderr else ""
            time.sleep(draw.uniform(0, 1.5))
            os.killpg(child.pid, signal.SIGKILL)
        assert no_server_lives(trip), "a killed journey takes its server with it"
    code, out, err = hammer.run(tmp_path, *words)
    assert code == 0, err
    assert "score after" in out
    assert "\x1b" not in out + err
    assert json.loads((trip / "ask.json").read_text())["answer"]
    assert FINISHED in (trip / "sft" / "events.jsonl").read_text()
    left = [p for p in trip.rglob("*") if ".aside-" in p.name or p.name.endswith(".partial")]
    assert left == []
    begin = time.monotonic()
    code, out, err = hammer.run(tmp_path, *words)
    assert code == 0, err
    assert out.count("done before") == 6
    assert time.monotonic() - begin < 60, "only the server and the request are left to do"


@pytest.mark.parametrize("stage", [4, 7, 8])
def test_an_interrupt_leaves_a_clean_state(
    hammer: Hammer, tmp_path: Path, trip: Path, stage: int
) -> None:
    words = (*SHORT[:2], str(trip), *SHORT[3:])
    with hammer.start(tmp_path, *words) as child:
        assert until(child, stage)
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=120)
    if child.returncode != 0:  # else the last stage was quicker than the signal
        assert child.returncode == 130, err
        assert "the same command goes on from here" in err
        assert "Traceback" not in err
    assert no_server_lives(trip)
    assert not [p for p in trip.rglob("*") if ".aside-" in p.name]
    code, _, err = hammer.run(tmp_path, *words)
    assert code == 0, err


def test_a_kept_server_answers_and_is_replaced_by_the_next(
    hammer: Hammer, tmp_path: Path, trip: Path
) -> None:
    words = (*SHORT[:2], str(trip), *SHORT[3:])
    code, out, err = hammer.run(tmp_path, *words, "--keep")
    assert code == 0, err
    kept = json.loads((trip / "server.json").read_text())
    assert born(kept["pid"]) == kept["born"]
    assert f"kill {kept['pid']}" in out
    code, _, err = hammer.run(tmp_path, *words)
    assert code == 0, err
    assert born(kept["pid"]) != kept["born"]
    assert not (trip / "server.json").exists()


def test_another_journey_or_other_files_are_not_overwritten(hammer: Hammer, tmp_path: Path) -> None:
    (tmp_path / "trip").mkdir()
    (tmp_path / "trip" / "letter.txt").write_text("mine")
    code, _, err = hammer.run(tmp_path, *SHORT)
    assert code == 2
    assert "holds other files; nothing is overwritten" in err
    assert [p.name for p in (tmp_path / "trip").iterdir()] == ["letter.txt"]
