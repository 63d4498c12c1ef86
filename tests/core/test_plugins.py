"""Plug-ins: what they add is there, what fails leaves nothing, and nobody's code runs unasked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from swift.core import plugins
from swift.core._code import digest_of
from swift.core.errors import UserError
from swift.core.plugins import Used, load, load_again, load_all, used
from swift.core.table import Table, additions, remembered

SHELF: Table[str] = Table("word", lambda: ["ours"], lambda word: word)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Keep what a test loads from other tests."""
    monkeypatch.setattr(plugins, "_tried", {})
    monkeypatch.setattr(plugins, "_looked", True)
    monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "cache"))
    before = SHELF.names()
    yield
    for name in set(SHELF.names()) - set(before):
        del SHELF._rows[name]


def plugin(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.py"
    path.write_text(f"from tests.core.test_plugins import SHELF\n{text}\n", encoding="utf-8")
    return str(path)


def test_what_a_file_adds_is_there_and_listed(tmp_path: Path) -> None:
    found = load(plugin(tmp_path, "one", "SHELF.add('theirs')"))
    assert SHELF.get("theirs") == "theirs"
    assert found.adds == (("word", "theirs"),)


def test_a_cache_that_cannot_be_written_keeps_no_plugin_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SWIFT_CACHE", str(tmp_path / "file"))
    assert load(plugin(tmp_path, "one", "SHELF.add('theirs')")).problem is None
    assert "theirs" in SHELF.names()


def test_a_file_is_loaded_once_however_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = plugin(tmp_path, "once", "SHELF.add('once')")
    monkeypatch.chdir(tmp_path)
    assert load(path) is load("./once.py") is load("once.py")


def test_a_plug_in_that_raises_leaves_nothing_and_is_named_with_its_line(tmp_path: Path) -> None:
    path = plugin(tmp_path, "half", "SHELF.add('half')\nraise RuntimeError('no')")
    with pytest.raises(UserError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert problem.where == f"{path}:3"
    assert "raised RuntimeError: no" in problem.what
    assert SHELF.get("half") is None


def test_after_it_is_mended_the_same_process_can_load_it(tmp_path: Path) -> None:
    path = plugin(tmp_path, "mended", "SHELF.add('mended')\n1 / 0")
    assert load_all([path])
    plugin(tmp_path, "mended", "SHELF.add('mended')")
    assert not load_all([path])
    assert SHELF.get("mended")


def test_one_that_fails_does_not_take_the_others_down(tmp_path: Path) -> None:
    bad = plugin(tmp_path, "bad", "import nothing_of_that_name")
    good = plugin(tmp_path, "good", "SHELF.add('good')")
    (problem,) = load_all([bad, good], "recipe.yaml:1 plugins")
    assert problem.where == "recipe.yaml:1 plugins"
    assert "bad.py:2" in problem.what
    assert SHELF.get("good")


def test_a_class_that_is_no_member_is_refused_while_it_is_imported(tmp_path: Path) -> None:
    text = "from swift.tuner import tuners\n@tuners.add('odd')\nclass Odd:\n    pass"
    (problem,) = load_all([plugin(tmp_path, "noclass", text)])
    assert "a tuner is a subclass of `swift.tuner:Tuner`, which `Odd` is not" in problem.what
    assert "noclass.py:3" in problem.what or "noclass.py:4" in problem.what


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    (problem,) = load_all([plugin(tmp_path, "thief", "SHELF.add('ours')")])
    assert "`ours` is there already" in problem.what


def test_what_is_absent_is_said(tmp_path: Path) -> None:
    for name in (str(tmp_path / "no.py"), "no_module_of_that_name", str(tmp_path), ""):
        (problem,) = load_all([name])
        assert f"there is no plug-in `{name}`" in problem.what


def test_what_was_derived_is_derived_again_when_something_is_added() -> None:
    asked: list[int] = []

    def count() -> int:
        asked.append(1)
        return len(SHELF)

    derived = remembered(count)
    before = derived()
    assert derived() == before
    assert len(asked) == 1
    SHELF.add("more")
    assert derived() == before + 1


def test_a_plug_in_comes_before_ours_where_the_first_that_fits_counts(tmp_path: Path) -> None:
    load(plugin(tmp_path, "first", "SHELF.add('a later one')"))
    assert SHELF.rows() == ("ours", "a later one")
    assert SHELF.by_weight() == ("a later one", "ours")


def test_our_own_modules_are_nobodys_addition() -> None:
    with additions() as found:
        SHELF.add("own", own=True)
    assert not found


# --- runs and checkpoints that were made with plug-ins ------------------------------------------


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be another process."""
    for name in set(SHELF.names()) - {"ours"}:
        del SHELF._rows[name]
    monkeypatch.setattr(plugins, "_tried", {})


def test_code_that_was_named_once_is_loaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (known,) = used([plugin(tmp_path, "known", "SHELF.add('known')")])
    forget(monkeypatch)
    load_again([known], "runs/a")
    assert SHELF.get("known")


def test_code_that_nobody_named_is_not_run_because_a_checkpoint_says_so(tmp_path: Path) -> None:
    path = Path(plugin(tmp_path, "canary", "SHELF.add('canary')"))
    strange = Used(said="canary.py", place=str(path), digest=digest_of(path))
    with pytest.raises(UserError, match="is code you never named") as caught:
        load_again([strange], "checkpoint-1")
    assert caught.value.problems[0].fix == f"--plugins {path}"
    assert SHELF.get("canary") is None


def test_code_that_changed_since_is_not_run_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (known,) = used([plugin(tmp_path, "changed", "SHELF.add('before')")])
    forget(monkeypatch)
    plugin(tmp_path, "changed", "SHELF.add('after')")
    with pytest.raises(UserError, match="has changed since"):
        load_again([known], "runs/a")
    assert SHELF.get("after") is None
    load(known.place)  # the user names it, as the repair says
    load_again([known], "runs/a")


def test_the_same_text_elsewhere_is_not_run_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a copy may lie what Python takes instead: compiled files, links, extensions."""
    (known,) = used([plugin(tmp_path, "copied", "SHELF.add('copied')")])
    forget(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs").mkdir()
    copy = tmp_path / "theirs" / "copied.py"
    copy.write_bytes(Path(known.place).read_bytes())
    for place in (str(copy), "theirs/copied.py"):
        with pytest.raises(UserError):
            load_again([Used(said="x", place=place, digest=known.digest)], "checkpoint-1")
    assert SHELF.get("copied") is None


@pytest.mark.parametrize("end", ["raise SystemExit(0)", "raise BaseException('x')", "1 / 0"])
def test_a_plug_in_does_not_end_the_command(tmp_path: Path, end: str) -> None:
    (problem,) = load_all([plugin(tmp_path, "ending", f"SHELF.add('e')\n{end}")])
    assert "the plug-in" in problem.what
    assert SHELF.get("e") is None


def test_an_error_that_has_no_words_is_named(tmp_path: Path) -> None:
    text = "class Odd(Exception):\n    def __str__(self):\n        1 / 0\nraise Odd"
    (problem,) = load_all([plugin(tmp_path, "odd", text)])
    assert problem.what.endswith("raised Odd")


def test_two_of_one_file_name_are_two(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        load(plugin(tmp_path / name, "same", f"SHELF.add(__name__ and '{name}')\nWHO = '{name}'"))
    modules = [m for n, m in sys.modules.items() if n.startswith("swift_plugin_same_")]
    assert {module.WHO for module in modules} == {"a", "b"}


def test_what_is_no_python_code_is_said(tmp_path: Path) -> None:
    (tmp_path / "loop.py").symlink_to(tmp_path / "loop.py")
    (tmp_path / "text.txt").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "__init__.py").write_text("")
    (tmp_path / "full" / "x.py").mkdir()
    assert not load_all([str(tmp_path / "full")])
    for name in (str(tmp_path / "loop.py"), str(tmp_path / "text.txt"), "sys"):
        (problem,) = load_all([name])
        assert "there is no plug-in" in problem.what


def test_a_plug_in_that_is_gone_is_asked_for(tmp_path: Path) -> None:
    gone = Used(said="./gone.py", place=str(tmp_path / "gone.py"), digest="0")
    with pytest.raises(UserError, match=r"gone\.py`, which is not at") as caught:
        load_again([gone], "runs/a")
    assert caught.value.problems[0].fix == "--plugins FOLDER/gone.py"


# --- installed ones -----------------------------------------------------------------------------


def installed_in(folder: Path, name: str, text: str) -> None:
    """Lay a package with an entry point, as pip leaves it."""
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[swift.plugins]\n{name} = {name}\n")


def say(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); from swift.cli.main import main; "
    code += "sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120)


def test_an_installed_plug_in_is_a_full_citizen_and_a_broken_one_is_named(tmp_path: Path) -> None:
    installed_in(tmp_path, "swift_broken", "1 / 0")
    rows = "from swift.plugin import Row, models, verb\n"
    rows += "models.add(Row(huggingface='me/Wondrous-7B', family='wonder'))\n"
    rows += "@verb('wonder', 'x')\ndef act(name, words):\n    print('wonderful')\n    return 0\n"
    installed_in(tmp_path, "swift_wonder", rows)
    listed = say(tmp_path, "list", "models", "--family", "wonder")
    assert "me/Wondrous-7B" in listed.stdout
    assert "swift_broken.py:1: the plug-in `swift_broken` raised ZeroDivisionError" in listed.stderr
    assert say(tmp_path, "wonder").stdout == "wonderful\n"
    hint = say(tmp_path, "sft", "--model", "wondros-7b", "--dry-run")
    assert "`Wondrous-7B`" in hint.stderr
    table = say(tmp_path, "plugins")
    assert table.returncode == 2
    assert "model: me/Wondrous-7B" in table.stdout
    assert "failed: " in table.stdout
