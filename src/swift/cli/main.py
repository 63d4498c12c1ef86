"""The `swift` command: a table of verbs. Nothing is imported before a verb is chosen."""

from __future__ import annotations

import sys

from swift import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself would take a fifth of the time of `swift --help`
    from collections.abc import Callable
    from typing import Any

VERBS: dict[str, tuple[str, str, str]] = {
    "guide": ("Start", "swift.cli.guide:main", "Ask a few questions, then train and serve"),
    "demo": ("Start", "swift.cli.demo:main", "The whole journey on the embedded model, in minutes"),
    "train": ("Train", "swift.cli.train:main", "Train as the recipe's `method` says"),
    "pt": ("Train", "swift.cli.train:main", "Pre-training: every token of plain text"),
    "sft": ("Train", "swift.cli.train:main", "Supervised fine-tuning"),
    "dpo": ("Train", "swift.cli.train:main", "Direct preference optimisation, on pairs of answers"),
    "kto": (
        "Train",
        "swift.cli.train:main",
        "Preference optimisation on good and bad answers",
    ),
    "orpo": (
        "Train",
        "swift.cli.train:main",
        "Odds ratio preference optimisation of pairs",
    ),
    "cpo": ("Train", "swift.cli.train:main", "Contrastive preference optimisation of pairs"),
    "simpo": ("Train", "swift.cli.train:main", "Simple preference optimisation of pairs"),
    "grpo": (
        "Train",
        "swift.cli.train:main",
        "Group relative policy optimisation: judged answers of its own",
    ),
    "rm": ("Train", "swift.cli.train:main", "A reward model, on pairs of answers"),
    "check": ("Train", "swift.cli.check:main", "Say beforehand whether a run would be wasted"),
    "chat": ("Use", "swift.cli.chat:main", "Talk with a model or a run"),
    "infer": ("Use", "swift.cli.infer:main", "Answer each row of a data set, into a file"),
    "eval": ("Use", "swift.cli.eval:main", "Say how often a model or a run is right"),
    "merge": ("Use", "swift.cli.merge:main", "Make one model of an adapter and its base"),
    "serve": ("Use", "swift.cli.serve:main", "Serve a model or a run with OpenAI's API"),
    "push": ("Use", "swift.cli.push:main", "Put a run, a model or a data set on a hub"),
    "download": ("Look", "swift.cli.download:main", "Fetch models and data sets, and check them"),
    "list": ("Look", "swift.cli.list:main", "List the models and data sets that have a name"),
    "show": ("Look", "swift.cli.show:main", "Say what is known of one model, or of a data set"),
    "runs": ("Look", "swift.cli.runs:main", "List the runs under runs/: state, step, loss, age"),
    "plugins": ("Look", "swift.cli.plugins:main", "List the plug-ins, and what each of them adds"),
    "env": ("Look", "swift.cli.env:main", "Show versions, devices, memory and disk"),
}
"""verb -> (group in the help, module:function, what it does). The function gets (verb, words)."""

LATER = ("ppo", "quantise", "estimate", "web")
"""Verbs of later versions: whoever tries one is told so."""


def main(words: list[str] | None = None) -> int:
    """Carry out a command line (without the program's name) and return its exit code.

    0 done, 1 a mistake of ours, 2 the user can mend it, 3 the machine's owner can, 4 the numbers
    went wrong, 130 interrupted.
    """
    words = sys.argv[1:] if words is None else words
    verb = words[0] if words else "--help"
    if verb in ("-h", "--help", "help"):
        return _printed(_help())
    if verb in ("-V", "--version", "version"):
        return _printed(f"swift {__version__}")
    return _carry_out(verb, words[1:])


def _printed(text: str) -> int:
    """Print; a reader that has gone, as of `swift --help | head -1`, is no mistake."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        sys.stderr.close()
    return 0


def _carry_out(verb: str, words: list[str]) -> int:
    try:
        from swift.core import env

        env.patient_threads()
        env.without_plugins_of_pydantic()
        if any(word.startswith("--plugins") for word in words):
            words = _load("swift.cli.plugins:flagged")(words)
        act = _load(VERBS[verb][1] if verb in VERBS else "swift.cli.verbs:foreign")
        _show_downloads()
        return int(act(verb, words))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone: `swift env | head -1`
        sys.stderr.close()
        return 0
    except Exception as error:
        return _failed(error)


def _show_downloads() -> None:
    """Let whatever a verb fetches be seen."""
    from swift.cli.fetched import Downloads
    from swift.hub.progress import showing

    showing.set(Downloads())


def _load(place: str) -> Callable[..., Any]:
    """Import "module:function" and return the function."""
    import gc
    from importlib import import_module

    module, _, function = place.partition(":")
    gc.disable()  # imports make no garbage; looking for some would take a tenth of the start
    found: Callable[..., Any] = getattr(import_module(module), function)
    gc.freeze()
    gc.enable()
    return found


def _failed(error: Exception) -> int:
    """Say what went wrong: a problem in words, or a mistake of ours with its traceback."""
    from swift.core.errors import SwiftError

    if isinstance(error, SwiftError):
        if not error.told:
            print(error, file=sys.stderr)
        return error.exit_code
    import traceback

    traceback.print_exception(error)
    from swift.core.plugins import at_fault

    plugin = at_fault(error)
    who = f"the plug-in `{plugin.said}`" if plugin else f"swift {__version__}"
    made = f"{who} made a mistake ({type(error).__name__}); the lines above say where"
    print(made, file=sys.stderr)
    return 2 if plugin else 1


def _help() -> str:
    lines = ["usage: swift VERB [recipe.yaml] [--key value ...]", ""]
    for group in dict.fromkeys(row[0] for row in VERBS.values()):
        lines.append(f"{group}:")
        lines += [f"  {v:<9} {row[2]}" for v, row in VERBS.items() if row[0] == group]
        lines.append("")
    lines += [
        "swift VERB --help lists the options of a verb; swift --version tells the version.",
        "Try: swift sft --model nano --dataset nano-orders",
    ]
    return "\n".join(lines)
