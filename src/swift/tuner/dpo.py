"""A door that the mission names: `from swift.tuner.dpo import DPOTrainer`. No tuner is here."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class DPOTrainer:
    """Direct preference optimisation of a live model, in the shape that users of TRL know.

    A few lines over `swift.train_dpo`, which stands on a higher floor.
    """

    def __init__(
        self,
        model: Any,
        ref_model: Any = None,
        beta: float = 0.1,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        tokenizer: Any = None,
        **options: Any,
    ) -> None:
        """Remember what to train.

        Args:
            model: A name, a folder, or a live model of transformers or PEFT.
            ref_model: The reference; None: the model itself as it is now.
            beta: How strongly the model is held to the reference.
            train_dataset: Pairs: a list or iterable of maps, a `datasets.Dataset`, a name, a path.
            eval_dataset: The same, to validate on.
            tokenizer: Of a live model whose `name_or_path` leads to none.
            options: Any other of `swift.train`.
        """
        self._options = {"model": model, "ref_model": ref_model, "beta": beta, **options}
        self._options |= {"eval_dataset": eval_dataset, "tokenizer": tokenizer}
        self._options["dataset"] = train_dataset

    def train(self) -> Any:
        """Train and return a `swift.Result`."""
        return import_module("swift.api").train_dpo(**self._options)
