"""Which layers a LoRA adapts: all matrices that an adapter can reach, or those of given names."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from swift.core.env import ranks
from swift.core.errors import PlanError, Problem, nearest

_FUSED = (".c_attn", ("q_proj", "k_proj", "v_proj"))
"""Qwen's first models, as their own code opens them, keep query, key and value in one layer."""

_FACTS = frozenset({"dtype", "device", "shape", "size", "dim", "ndim", "requires_grad"})
"""What code may ask of a weight without computing with it."""


def chosen(model: nn.Module, said: str | Sequence[str]) -> tuple[str | list[str], list[str] | None]:
    """Return PEFT's `target_modules` and `exclude_modules`.

    Raises:
        PlanError: A name fits no layer; names all of them.
    """
    if said != "all-linear":
        return _named(model, [said] if isinstance(said, str) else list(said)), None
    found = {**_bypassed(model), **_no_products(model), **_shared(model)}
    if not found:
        return "all-linear", None
    left = _short(model, found)
    _say(f"all-linear leaves out {', '.join(left)}: {'; '.join(sorted(set(found.values())))}")
    return "all-linear", left


def _named(model: nn.Module, wanted: list[str]) -> list[str]:
    """Return the layers that are meant; each name must fit one, or one that it is part of."""
    layers = [
        n
        for n, m in model.named_modules()
        if n and not list(m.children()) and not isinstance(m, nn.Embedding)
    ]
    missing = [t for t in wanted if not any(n == t or n.endswith(f".{t}") for n in layers)]
    fused = [t for t in missing if t in _FUSED[1] and any(n.endswith(_FUSED[0]) for n in layers)]
    if fused:
        missing = [t for t in missing if t not in fused]
        wanted = [*(t for t in wanted if t not in fused), _FUSED[0].removeprefix(".")]
        _say(f"{', '.join(fused)} are one layer here, `{wanted[-1]}`, which is adapted")
    if missing:
        names = sorted({n.rsplit(".", 1)[-1] for n in layers if "proj" in n or "attn" in n}) or [
            *{n.rsplit(".", 1)[-1] for n in layers}
        ]
        raise PlanError([_missing(model, target, names) for target in missing])
    return wanted


def _missing(model: nn.Module, target: str, names: list[str]) -> Problem:
    """Return why a name of the user's fits no layer."""
    if any(n == target or n.endswith(f".{target}") for n, _ in model.named_parameters()):
        what = f"`{target}` is a parameter here, not a layer, and only layers are adapted"
        fix = f"layers: {', '.join(names)}; or `tuner: full`, which trains all of them"
        return Problem(where="tuner.targets", what=what, fix=fix)
    what = f"no layer is called `{target}`"
    return Problem(where="tuner.targets", what=what, fix=nearest(target, names))


def tell_packed(adapted: nn.Module) -> None:
    """Say which packed matrices, such as experts in one parameter, PEFT's all-linear left alone.

    Of some architectures PEFT knows them, and wraps the module that holds them.
    """
    found = dict.fromkeys(
        re.split(r"(?:^|\.)\d+\.", f"{path}.{name}", maxsplit=1)[-1]
        for path, module in adapted.named_modules()
        if not type(module).__module__.startswith("torch.nn.") and ".base_layer" not in path
        for name, weight in module.named_parameters(recurse=False)
        if weight.dim() == 3
    )
    experts = [name for name in found if "expert" in name]
    if experts:
        _say(f"its experts are not adapted: {', '.join(experts)} are no Linear layers")


def _bypassed(model: nn.Module) -> dict[str, str]:
    """Return, with the reason, the matrices whose weight their parent's code reads by itself.

    So do state spaces, for one kernel that does several steps: an adapter would not be asked.
    """
    why = "the model reads their weights past any adapter"
    found: dict[str, str] = {}
    read = {kind: _reads(kind) for kind in {type(module) for module in model.modules()}}
    for path, module in model.named_modules():
        for name, child in module.named_children():
            if name in read[type(module)] and isinstance(child, nn.Linear):
                found[f"{path}.{name}" if path else name] = why
    return found


def _reads(kind: type[nn.Module]) -> frozenset[str]:
    """Return each `name` of which a class's own code computes with `self.name.weight`."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):
        return frozenset()
    # A slice is Bloom's rehearsal of tensor parallelism, which its configuration must ask for.
    facts = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        or (isinstance(node, ast.Attribute) and node.attr in _FACTS)
    }
    return frozenset(name for name, node in _weights(tree) if id(node) not in facts)


def _weights(tree: ast.AST) -> Iterator[tuple[str, ast.Attribute]]:
    """Yield (name, expression) of every `self.name.weight`."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(
                attr="weight", value=ast.Attribute(attr=name, value=ast.Name(id="self"))
            ):
                yield name, node


def _shared(model: nn.Module) -> dict[str, str]:
    """Return, with the reason, the matrices that several layers have in common.

    Each layer would get an adapter of its own, and their sums would no longer be one matrix.
    """
    why = "several layers have them in common"
    linears = {p: m for p, m in model.named_modules() if isinstance(m, nn.Linear)}
    count = Counter(id(layer.weight) for layer in linears.values())
    return {path: why for path, layer in linears.items() if count[id(layer.weight)] > 1}


def _no_products(model: nn.Module) -> dict[str, str]:
    """Return, with the reason, the Linears that answer with something else than a product."""
    return {
        path: "they answer with more than a product, as routers do"
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and type(module).forward is not nn.Linear.forward
        and not _multiplies(module)
    }


def _multiplies(layer: nn.Linear) -> bool:
    """Return whether a layer turns its inputs into its outputs; tried without numbers, on meta.

    Of packed layers, whose weights are no plain parameters, PEFT has layers of its own.
    """
    if type(layer.weight) is not nn.Parameter:
        return True
    weights = {name: torch.empty_like(w, device="meta") for name, w in layer.named_parameters()}
    x = torch.empty(2, layer.in_features, device="meta", dtype=layer.weight.dtype)
    try:
        y = functional_call(layer, weights, (x,))
    except Exception:
        return False
    return isinstance(y, Tensor) and y.shape == (2, layer.out_features)


def _short(model: nn.Module, paths: Sequence[str] | dict[str, str]) -> list[str]:
    """Return what follows a block's number in paths; a whole path where another layer ends so."""
    linears = {path for path, module in model.named_modules() if isinstance(module, nn.Linear)}
    kept = linears - set(paths)
    ends: dict[str, None] = {}
    for path in paths:
        end = re.split(r"(?:^|\.)\d+\.", path, maxsplit=1)[-1]
        clash = any(other == end or other.endswith(f".{end}") for other in kept)
        ends[path if clash else end] = None
    return list(ends)


def _say(text: str) -> None:
    if ranks().rank == 0:
        sys.stderr.write(f"note: {text}\n")
