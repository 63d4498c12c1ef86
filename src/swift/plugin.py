"""What a plug-in adds to, in one place: `from swift.plugin import tuners, wires, verb`.

    methods tuners quants optimizers strategies engines scores    @tuners.add("mine") on a class
    models families wires call_styles presets datasets            wires.add(Wire(...)), a row
    format verb                                                   @verb("mine", "what it does")

Each is looked up when it is first asked for, so that a plug-in which adds a row costs nothing more.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_PLACES = {
    "Listed": "swift.dataset.names:Listed",
    "Preset": "swift.recipe.presets:Preset",
    "Row": "swift.model.names:Row",
    "Structure": "swift.model.structures:Structure",
    "Style": "swift.chat.tools:Style",
    "Wire": "swift.chat.wires:Wire",
    "call_styles": "swift.chat.tools:styles",
    "datasets": "swift.dataset.names:datasets",
    "engines": "swift.engine:engines",
    "families": "swift.model.structures:families",
    "format": "swift.dataset.formats:format",
    "methods": "swift.method:methods",
    "models": "swift.model.names:models",
    "optimizers": "swift.optimizer:optimizers",
    "presets": "swift.recipe.presets:words",
    "quants": "swift.quant:quants",
    "scores": "swift.score:scores",
    "strategies": "swift.parallel:strategies",
    "tuners": "swift.tuner:tuners",
    "verb": "swift.cli.verbs:verb",
    "wires": "swift.chat.wires:known_wires",
}

__all__ = [*_PLACES]


def __getattr__(name: str) -> "Any":
    """Import what is asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, _, attribute = _PLACES[name].partition(":")
    return getattr(import_module(module), attribute)
