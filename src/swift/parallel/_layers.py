"""Finds the repeated layers of a model by structure."""

from __future__ import annotations

from torch import nn


def layers_of(model: nn.Module) -> list[nn.Module]:
    """Return the elements of the longest list of modules that is not inside another such list."""
    lists: list[tuple[str, nn.ModuleList]] = [
        (name, m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m)
    ]
    outer = [m for name, m in lists if not any(name.startswith(f"{other}.") for other, _ in lists)]
    return [layer for group in outer if len(group) > 1 for layer in group] or [
        layer for group in outer for layer in group
    ]
