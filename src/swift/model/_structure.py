"""What one module is, seen from its shape: a matrix, a stack of blocks, attention, a tower."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

from swift.model.kind import kind_of

_HEADS = (
    "num_heads n_heads n_head head_dim num_attention_heads num_key_value_groups "
    "attention_head_size num_key_value_heads attn_dropout"
).split()
_STATE = "ssm_state_size conv_kernel_size conv1d A_log".split()


def sides(module: nn.Module) -> tuple[int, int]:
    """Return (numbers in, numbers out) of a single matrix; (0, 0) for another module."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D":  # transformers' own: a transposed Linear
        rows, columns = module.weight.shape  # type: ignore[misc]
        return int(rows), int(columns)
    return 0, 0


def is_packed(module: nn.Module) -> bool:
    """Return whether a module holds matrices of several experts, one tensor for all."""
    own = [weight for weight in module.parameters(recurse=False) if weight.dim() == 3]
    return len(own) >= 2


def is_layer(module: nn.Module) -> bool:
    """Return whether a module multiplies by a matrix, or by the matrices of experts."""
    return bool(sides(module)[0]) or is_packed(module)


def is_stack(module: nn.Module) -> bool:
    """Return whether a module is a list of blocks: matrices that mix positions, and others."""
    if not isinstance(module, nn.ModuleList | nn.Sequential) or not len(module):
        return False
    inner = [child for block in module for child in block.modules()]
    return any(attends(child) for child in inner)


def attends(module: nn.Module) -> bool:
    """Return whether a module mixes positions: it counts heads or keeps a state."""
    kind = type(module).__name__
    signs = any(hasattr(module, name) for name in (*_HEADS, *_STATE))
    if not signs and "Attention" not in kind and "Attn" not in kind:
        return False
    layers = [child for child in module.modules() if is_layer(child)]
    return len(layers) >= 1 and not _is_block(module)


def _is_block(module: nn.Module) -> bool:
    """Return whether a module has norms, and beside them several parts with matrices."""
    if isinstance(module, nn.ModuleList | nn.Sequential):
        return True
    parts = [c for c in module.children() if sum(is_layer(inner) for inner in c.modules()) >= 2]
    return len(parts) >= 2 or any(isinstance(child, nn.ModuleList) for child in parts)


def pairs(layers: Mapping[str, nn.Module]) -> Iterator[str]:
    """Yield the names of matrices that lead to where another leads back from, and of experts.

    One that opens may be two in one (gate and value).
    """
    shapes = {name: sides(module) for name, module in layers.items()}
    for name, (into, out) in shapes.items():
        if is_packed(layers[name]):
            yield name
            continue
        others = [shape for other, shape in shapes.items() if other != name]
        opens = any(back == into and wide in (out, out / 2) for wide, back in others)
        closes = any(start == out and wide in (into, 2 * into) for start, wide in others)
        if opens or closes:
            yield name


_PIXELS = ("pixel", "image", "video")
_SOUND = ("input_features", "input_values", "audio", "speech")


def senses(module: nn.Module, *, deep: bool) -> str:
    """Return vision or audio for a module that takes (or gives) pixels or sound; "" for another.

    Args:
        module: Any module.
        deep: Whether it holds a stack; one without is only known by a configuration of its own.
    """
    if isinstance(module, nn.ModuleList | nn.Sequential):
        return ""
    config = getattr(module, "config", None)
    if config is not None and hasattr(config, "to_dict"):
        reads = set(kind_of(config.to_dict()).modality)
        if reads and reads <= {"image", "video"}:
            return "vision"
        if reads == {"audio"}:
            return "audio"
    if not deep:
        return ""
    takes = str(getattr(module, "main_input_name", ""))
    if takes.startswith(_PIXELS):
        return "vision"
    return "audio" if takes.startswith(_SOUND) else _convolves(module)


def _convolves(module: nn.Module) -> str:
    """Return vision or audio for a stack fed by convolutions over two (three) dimensions or one."""
    for child in module.children():
        if any(is_stack(inner) for inner in child.modules()):
            continue
        for inner in child.modules():
            if isinstance(inner, nn.Conv2d | nn.Conv3d) and inner.in_channels <= 4:
                return "vision"
            if isinstance(inner, nn.Conv1d):
                return "audio"
    return ""
