"""Recipe: the frozen tree of wishes. It holds what the user said and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializeAsAny

from swift.core import yaml
from swift.core.registry import Registry
from swift.core.schema import Value, Word
from swift.engine import EngineOptions, engines
from swift.method import Method, methods
from swift.optimizer import Optimizer, optimizers
from swift.quant import Quant, quants
from swift.recipe.sections import Data, Dataset, Model, Parallel, Serve, Train
from swift.report import Report
from swift.report import listed as reported
from swift.reward import Reward, brief, listed
from swift.tuner import Tuner, tuners

REGISTRIES: Mapping[str, tuple[Registry[Any], str | None]] = {
    "method": (methods, "sft"),
    "tuner": (tuners, "lora"),
    "quant": (quants, None),
    "optimizer": (optimizers, "adamw"),
    "engine": (engines, "torch"),
}
"""Keys that name a member of a registry, each with the member meant when nobody says.

None: then there is none, and options alone do not tell which is meant.
"""


def _as_list(said: Any) -> Any:
    return (said,) if isinstance(said, str | Mapping | Dataset) else said


def _default(key: str) -> Any:
    registry, name = REGISTRIES[key]
    return registry.make(name)


def task_words() -> tuple[str, ...]:
    """Return the words for a task."""
    from swift.dataset.tasks import tasks

    return tasks.names()


def _task_word(said: Any) -> Any:
    from swift.dataset.tasks import word_for

    return word_for(said) if isinstance(said, str) else said


def default_dataset(method: Method | type[Method]) -> str:
    """Return the generated data set inside the package that stands in where none is named."""
    if method.task == "text":
        return "nano-lines"
    if method.wants == "prompts":
        return "nano-numbers"
    return "nano-preferences" if len(method.sides) == 2 else "nano-orders"


class Recipe(Value):
    """All a user may ask of a training. A key that is absent has its default."""

    model: Model = Field(default_factory=Model)
    """The model: a name or a folder, or a map of its options."""

    method: Annotated[SerializeAsAny[Method], BeforeValidator(methods.make)] = Field(
        default_factory=lambda: _default("method")
    )
    """The loss, and its options; also the verb on the command line."""

    data: Data = Field(default_factory=Data)
    """How the rows are prepared."""

    dataset: Annotated[tuple[Dataset, ...], BeforeValidator(_as_list), Field(min_length=1)] = Field(
        default_factory=lambda said: (
            Dataset(name=said["data"].image_folder or default_dataset(said["method"])),
        )
    )
    """What to train on: names and paths, or maps where one needs columns or a format."""

    task: Annotated[str, Word(task_words), BeforeValidator(_task_word)] = Field(
        default_factory=lambda said: said["method"].task
    )
    """The shape of a sample: a conversation, plain text, a question about a picture, and others.
    By default text for pt, else chat."""

    tuner: Annotated[SerializeAsAny[Tuner], BeforeValidator(tuners.make)] = Field(
        default_factory=lambda: _default("tuner")
    )
    """Which weights are trained."""

    quant: Annotated[SerializeAsAny[Quant] | None, BeforeValidator(quants.make)] = None
    """How the frozen weights are packed into fewer bits. null: not at all."""

    train: Train = Field(default_factory=Train)
    """The loop."""

    optimizer: Annotated[SerializeAsAny[Optimizer], BeforeValidator(optimizers.make)] = Field(
        default_factory=lambda: _default("optimizer")
    )
    """The update rule."""

    parallel: Parallel = Field(default_factory=Parallel)
    """How the work is spread over devices."""

    engine: Annotated[SerializeAsAny[EngineOptions], BeforeValidator(engines.make)] = Field(
        default_factory=lambda: _default("engine")
    )
    """What generates."""

    reward: Annotated[tuple[SerializeAsAny[Reward], ...], BeforeValidator(listed)] = ()
    """What judges answers of online methods: see `swift list rewards`; FILE.py:FUNCTION; maps."""

    report: Annotated[tuple[SerializeAsAny[Report], ...], BeforeValidator(reported)] = ()
    """Where else the numbers of steps and validations go: tensorboard."""

    serve: Serve = Field(default_factory=Serve)
    """The served API."""

    output_dir: Annotated[str, Field(min_length=1)] | None = None
    """The run folder. null: runs/<model>-<method>-NNN."""

    plugins: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ()
    """Files, folders or modules that add members, rows or verbs. Their code is run."""

    def dump(self) -> str:
        """Return YAML of what was said, short where a word is enough; `read` gives it back."""
        said = self.model_dump(mode="json", exclude_unset=True)
        tree = {key: self._brief(key, value) for key, value in said.items()}
        return yaml.dump(tree) if tree else "{}\n"

    def full(self) -> dict[str, Any]:
        """Return every key with its value, as JSON has it; `Recipe.model_validate` takes it."""
        return self.model_dump(mode="json")

    @staticmethod
    def _brief(key: str, value: Any) -> Any:
        if key == "plugins":
            return value[0] if len(value) == 1 else value
        if key == "dataset":
            words = [_word(item, Dataset.shorthand) for item in value]
            return words[0] if len(words) == 1 and isinstance(words[0], str) else words
        if key == "reward":
            words = [brief(item) for item in value]
            return words[0] if len(words) == 1 else words
        if key == "report":
            words = [_word(item, "name") for item in value]
            return words[0] if len(words) == 1 else words
        if key in REGISTRIES:
            return None if value is None else _word(value, "name")
        sections: dict[str, type[Value]] = {"model": Model, "parallel": Parallel}
        return _word(value, sections[key].shorthand) if key in sections else value


def _word(options: dict[str, Any], key: str) -> Any:
    return options[key] if options.keys() == {key} else options
