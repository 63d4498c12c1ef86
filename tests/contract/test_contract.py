"""Promises that a machine keeps for us."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import swift
from swift.cli.main import VERBS
from swift.core.registry import Registry
from swift.core.schema import Component, Value, documentation
from swift.recipe import read
from swift.recipe.recipe import REGISTRIES

SOURCE = Path(swift.__file__).parent
REPOSITORY = SOURCE.parent.parent
TESTS = Path(__file__).parent.parent

HEAVY = ("torch", "transformers", "peft", "pyarrow", "tokenizers", "datasets", "numpy")
FOR_HELP = (*HEAVY, "pydantic", "ruamel", "argparse", "importlib.metadata", "typing", "dataclasses")

MAY_BE_HEAVY = ("seam", "run")
"""Parts whose modules are imported only where there is work to do."""


def modules() -> list[str]:
    found = pkgutil.walk_packages([str(SOURCE)], "swift.")
    return sorted(m.name for m in found if not m.name.endswith("__main__"))


def public_modules() -> list[str]:
    """Modules that must stay light: not in `seam` or `run`, and with no `_` in their path."""
    return [
        name
        for name in modules()
        if name.split(".")[1] not in MAY_BE_HEAVY
        and not any(part.startswith("_") for part in name.split("."))
    ]


def values() -> list[type[Value]]:
    """Return every class of values that the project defines."""
    for name in public_modules():
        importlib.import_module(name)

    def below(cls: type[Value]) -> Iterator[type[Value]]:
        for child in cls.__subclasses__():
            yield child
            yield from below(child)

    found = {c for c in below(Value) if c.__module__.startswith("swift.")}
    return sorted(found, key=lambda c: (c.__module__, c.__name__))


def members() -> list[tuple[str, str]]:
    return [(kind, name) for kind, (registry, _) in REGISTRIES.items() for name in registry]


def loaded_after(code: str) -> list[str]:
    """Return the modules that a fresh Python holds after `code`."""
    script = f"import sys\n{code}\nimport json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return names


def trees() -> list[tuple[Path, ast.Module]]:
    return [(p, ast.parse(p.read_text(encoding="utf-8"))) for p in sorted(SOURCE.rglob("*.py"))]


@pytest.mark.parametrize("cls", values(), ids=lambda c: f"{c.__module__}.{c.__name__}")
def test_every_value_is_frozen_strict_and_documented(cls: type[Value]) -> None:
    assert cls.model_config.get("frozen") is True
    assert cls.model_config.get("extra") == "forbid"
    assert cls.__doc__
    assert set(cls.model_fields) == set(documentation(cls)), "a field wants a string under it"


def test_no_public_module_loads_torch() -> None:
    script = "\n".join(f"import {name}" for name in public_modules())
    loaded = loaded_after(script)
    assert "swift.recipe" in loaded
    assert [name for name in HEAVY if name in loaded] == []


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["trian"]])
def test_the_first_answer_loads_nothing_heavy(words: list[str]) -> None:
    loaded = loaded_after(f"from swift.cli.main import main; main({words})")
    allowed = {"typing", "dataclasses"} if words == ["trian"] else set()
    assert [name for name in FOR_HELP if name in loaded and name not in allowed] == []


def test_a_bad_recipe_is_answered_without_torch(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("modle: nano\n")
    path = str(tmp_path / "bad.yaml")
    loaded = loaded_after(f"from swift.cli.main import main; assert main(['sft', {path!r}]) == 2")
    assert [name for name in HEAVY if name in loaded] == []


@pytest.mark.parametrize(
    "words", ["list models", "list models --count", "show qwen-7b", "show nano", "runs", "env"]
)
def test_a_look_at_what_is_there_loads_nothing_heavy(words: str, tmp_path: Path) -> None:
    said = f"import os; os.chdir({str(tmp_path)!r}); from swift.cli.main import main"
    loaded = loaded_after(f"{said}; assert main({words.split()}) == 0")
    assert "swift.cli.main" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_all_is_exact_and_sorted() -> None:
    checked = 0
    for module in map(importlib.import_module, ["swift", *public_modules()]):
        said = getattr(module, "__all__", None)
        if said is None:
            continue
        checked += 1
        assert said == sorted(said), module.__name__
        assert [word for word in said if not hasattr(module, word)] == [], module.__name__
    assert checked >= 2


@pytest.mark.parametrize(("kind", "name"), members())
def test_every_member_has_a_doc_line_and_a_test(kind: str, name: str) -> None:
    cls = REGISTRIES[kind][0].get(name)
    first = (cls.__doc__ or "").split("\n")[0]
    assert first.endswith((".", ":")) or len(first) > 20
    named = [p for p in TESTS.rglob("test_*.py") if cls.__name__ in p.read_text(encoding="utf-8")]
    assert [p for p in named if p.parent != Path(__file__).parent], f"no test names {cls.__name__}"


def test_every_method_is_a_verb() -> None:
    methods: Registry[Component] = REGISTRIES["method"][0]
    assert set(methods) == {v for v, row in VERBS.items() if row[0] == "Train"} - {"train", "check"}


def test_every_registered_class_is_found_by_its_folder() -> None:
    for kind, (registry, default) in REGISTRIES.items():
        assert default is None or default in registry
        for name in registry:
            assert inspect.getmodule(registry.get(name)).__name__.startswith(f"swift.{kind}.")  # type: ignore[union-attr]


def test_every_recipe_in_the_repository_is_clean() -> None:
    recipes = sorted((REPOSITORY / "recipes").glob("**/*.yaml"))
    assert recipes
    for path in recipes:
        read(path)


def test_the_environment_is_read_in_one_place() -> None:
    readers = [
        path.relative_to(SOURCE).as_posix()
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "putenv")
    ]
    assert set(readers) == {"core/env.py"}


def test_no_module_but_one_tells_kinds_of_devices_apart() -> None:
    """`core/device.py` has them from a table, so that it need not name them either."""
    kinds = "cuda npu xpu mps nccl hccl xccl torch_npu".split()
    named = [
        f"{path.relative_to(SOURCE)} {word}"
        for path, tree in trees()
        for node in ast.walk(tree)
        for word in [
            str(node.value).partition(":")[0]
            if isinstance(node, ast.Constant)
            else node.attr
            if isinstance(node, ast.Attribute)
            else ""
        ]
        if word in kinds
    ]
    assert named == []
    table = (SOURCE / "core" / "accelerators.csv").read_text(encoding="utf-8")
    assert [kind for kind in kinds if kind not in table] == []


def test_only_the_command_line_prints() -> None:
    printers = [
        path.relative_to(SOURCE).as_posix()
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert {p.split("/")[0] for p in printers} == {"cli"}


def test_every_module_says_what_it_answers() -> None:
    assert [str(p) for p, tree in trees() if not ast.get_docstring(tree)] == []


def test_files_are_short_enough_to_read() -> None:
    long = {str(p): n for p, _ in trees() if (n := len(p.read_text("utf-8").splitlines())) > 330}
    assert long == {}


_BY_DECORATOR = ("format", "verb", "reader", "adapter")


def test_every_registry_and_table_is_open_to_plug_ins() -> None:
    import swift
    import swift.plugin
    from swift.core.registry import Registry
    from swift.core.table import Table

    open_ = [getattr(swift.plugin, name) for name in swift.plugin.__all__]
    for module in pkgutil.walk_packages(swift.__path__, "swift."):
        if "._" in module.name or module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Registry | Table) and value.kind not in _BY_DECORATOR:
                assert any(value is known for known in open_), f"{module.name}.{name}"
