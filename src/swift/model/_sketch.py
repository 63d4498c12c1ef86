"""A model's modules by path, and what their structure says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import nn

from swift.model._structure import attends, is_layer, is_stack, pairs, senses, sides


@dataclass
class Sketch:
    """The modules of one model; the methods answer what `find_roles` asks."""

    model: nn.Module
    modules: dict[str, nn.Module] = field(init=False)
    tokens: str = field(init=False)
    """The path of the token embedding; "" without one."""

    def __post_init__(self) -> None:
        self.modules = dict(self.model.named_modules(remove_duplicate=False))
        self.tokens = self._path(self._asked("get_input_embeddings")) or self._widest()

    def towers(self) -> Iterator[tuple[str, str]]:
        """Yield (path, sense) of the outermost modules that take pixels or sound."""
        seen: list[str] = []
        for path, module in self.modules.items():
            if not path or self._holds_tokens(module) or any(_inside(path, s) for s in seen):
                continue
            if sense := senses(module, deep=_deep(module)):
                seen.append(path)
                yield path, sense

    def head(self) -> tuple[str, ...]:
        """Return the path of what gives a number for each word."""
        path = self._path(self._asked("get_output_embeddings"))
        if path:
            return (path,)
        words = _shape(self.modules[self.tokens])[0]
        wide = [p for p, m in self.modules.items() if words and sides(m)[1] == words]
        return tuple(wide[:1])

    def language(self, towers: Mapping[str, str], head: tuple[str, ...]) -> tuple[str, ...]:
        """Return what is around embedding and blocks, or its parts if others are in it too."""
        if not self.tokens:
            return ()
        root = self.tokens
        while root:
            root = root.rpartition(".")[0]
            if any(
                is_stack(module) and _inside(path, root) and not _inside_any(path, towers)
                for path, module in self.modules.items()
            ):
                break
        foreign = [path for path in (*towers, *head) if _inside(path, root)]
        return (root,) if root and not foreign else tuple(self._own(root, [*towers, *head]))

    def _own(self, root: str, foreign: list[str]) -> Iterator[str]:
        """Yield the parts in `root` of the language model: embeddings, largest stack, norms."""
        own: dict[str, nn.Module] = {}
        for name, child in self.modules[root].named_children():
            path = f"{root}.{name}" if root else name
            if path in foreign:
                continue
            if any(_inside(f, path) for f in foreign):
                if self._holds_tokens(child):
                    yield from self._own(path, foreign)
            else:
                own[path] = child
        main = max((p for p in own if _deep(own[p])), key=lambda p: _count(own[p]), default="")
        for path, module in own.items():
            thin = not any(is_layer(inner) or sides(inner)[1] for inner in module.modules())
            convolves = any("Conv" in type(inner).__name__ for inner in module.modules())
            ours = path == main or self._holds_tokens(module) or (thin and not convolves)
            if ours and _count(module):
                yield path

    def rest(self, path: str, taken: set[str]) -> Iterator[str]:
        """Yield the outermost modules and parameters that are in none of `taken` nor hold one."""
        module = self.modules[path]
        if path in taken or not any(True for _ in module.parameters()):
            return
        if path and not any(_inside(other, path) for other in taken):
            yield path
            return
        for name, weight in module.named_parameters(recurse=False):
            if weight is not None:
                yield f"{path}.{name}" if path else name
        for name, _ in module.named_children():
            yield from self.rest(f"{path}.{name}" if path else name, taken)

    def reads(self, path: str) -> bool:
        """Return whether a part is a further stack over the same tokens: a decoder beside."""
        module = self.modules.get(path)
        return module is not None and self._holds_tokens(module)

    def speaks(self, path: str) -> bool:
        """Return whether a part has tokens and a head of its own."""
        if path not in self.modules or not _deep(self.modules[path]):
            return False
        inner = list(self.modules[path].modules())
        words = {_shape(m)[0] for m in inner} - {0}
        return any(sides(m)[1] in words for m in inner)

    def ends(self, tower: str, *, alone: bool) -> Iterator[str]:
        """Yield what follows a tower's blocks and leads to the language model.

        Args:
            tower: Its path.
            alone: Whether nothing outside the towers aligns: then the last matrices must.
        """
        width = _shape(self.modules[self.tokens])[1]
        passed = False
        for name, child in self.modules[tower].named_children():
            if not passed:
                passed = is_stack(child) or _deep(child)
                continue
            outs = [sides(inner)[1] for inner in child.modules() if sides(inner)[1]]
            if outs and not _deep(child) and (alone or (outs[-1] == width and len(outs) > 1)):
                yield f"{tower}.{name}"

    def projections(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the paths of matrices of attention, and of multilayer perceptrons."""
        attention: list[str] = []
        mlp: list[str] = []
        for path, block in self._blocks():
            mixing = [p for p, m in block.named_modules() if p and attends(m)]
            layers = {p: m for p, m in block.named_modules() if p and is_layer(m)}
            inside = [p for p in layers if any(_inside(p, mixer) for mixer in mixing)]
            attention += [f"{path}.{p}" for p in inside]
            left = {p: m for p, m in layers.items() if p not in inside}
            mlp += [f"{path}.{p}" for p in pairs(left)]
        return tuple(attention), tuple(mlp)

    def _blocks(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield (path, block) of every stack that lies in no other stack's block."""
        stacks: list[str] = []
        for path, module in self.modules.items():
            if is_stack(module) and not _inside_any(path, stacks):
                stacks.append(path)
                for name, block in module.named_children():
                    yield f"{path}.{name}", block

    def _holds_tokens(self, module: nn.Module) -> bool:
        """Return whether the token embedding, or another of as many words, is in a module."""
        shape = _shape(self.modules[self.tokens]) if self.tokens else (0, 0)
        return any(_shape(inner) == shape != (0, 0) for inner in module.modules())

    def _asked(self, question: str) -> nn.Module | None:
        """Return what the model says its embedding or head is; None if it cannot."""
        try:
            found: nn.Module | None = getattr(self.model, question)()
        except (AttributeError, NotImplementedError):
            return None
        return found

    def _path(self, module: nn.Module | None) -> str:
        if module is None:
            return ""
        return next((path for path, other in self.modules.items() if other is module), "")

    def _widest(self) -> str:
        """Return the path of the embedding with most words."""
        words = {path: _shape(module)[0] for path, module in self.modules.items()}
        best = max(words, key=lambda path: words[path])
        return best if words[best] else ""


def _shape(module: nn.Module) -> tuple[int, int]:
    """Return (words, width) of an embedding; (0, 0) for another module."""
    return getattr(module, "num_embeddings", 0), getattr(module, "embedding_dim", 0)


def _inside(path: str, other: str) -> bool:
    """Return whether `path` is `other` or lies in it; everything lies in the model itself."""
    return not other or path == other or path.startswith(other + ".")


def _inside_any(path: str, others: Mapping[str, str] | list[str]) -> bool:
    return any(_inside(path, other) for other in others)


def _deep(module: nn.Module) -> bool:
    return any(is_stack(inner) for inner in module.modules())


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
