"""What cannot be asked for together: one small function for each impossibility."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from swift.core.errors import Problem
from swift.core.yaml import KeyPath
from swift.method import methods
from swift.recipe.recipe import Recipe

Rule: TypeAlias = Callable[[Recipe], tuple[str, str] | None]
"""Returns (what is wrong, how to mend it), or None."""


class Rules:
    """The rules, each with the keys it is about; the first of them that was said is the place."""

    def __init__(self) -> None:
        self._rules: list[tuple[Rule, tuple[KeyPath, ...]]] = []

    def add(self, *keys: str) -> Callable[[Rule], Rule]:
        """Register the decorated function as a rule about `keys` ("train.batch_size")."""

        def register(rule: Rule) -> Rule:
            self._rules.append((rule, tuple(tuple(key.split(".")) for key in keys)))
            return rule

        return register

    def broken(self, recipe: Recipe, where: Callable[[KeyPath], str]) -> Iterator[Problem]:
        """Yield one problem for each rule that `recipe` breaks."""
        for rule, keys in self._rules:
            said = rule(recipe)
            if said:
                place = next((where(key) for key in keys if where(key)), "")
                yield Problem(what=said[0], fix=said[1], where=place)


rules = Rules()


@rules.add("train.batch_size", "train.micro_batch_size", "train.gradient_accumulation_steps")
def three_sizes_agree(recipe: Recipe) -> tuple[str, str] | None:
    """batch_size = micro_batch_size * gradient_accumulation_steps * processes that split data."""
    train = recipe.train
    batch, steps = train.batch_size, train.gradient_accumulation_steps
    micro = train.micro_batch_size if isinstance(train.micro_batch_size, int) else 1
    if batch is None or steps is None or batch % (micro * steps) == 0:
        return None
    said = f"micro_batch_size {micro}" if train.micro_batch_size != "auto" else "micro_batch_size"
    what = f"batch_size {batch} is no multiple of {said} times gradient_accumulation_steps {steps}"
    return what, "say two of the three; the third follows"


@rules.add("dataset")
def all_weights_or_none(recipe: Recipe) -> tuple[str, str] | None:
    """A share is one of a whole."""
    without = [d.name for d in recipe.dataset if d.weight is None]
    if not without or len(without) == len(recipe.dataset):
        return None
    said = ", ".join(f"`{name}`" for name in without)
    return f"some data sets have a weight, but not {said}", "give each a weight, or none"


@rules.add("train.max_steps", "train.epochs")
def one_length(recipe: Recipe) -> tuple[str, str] | None:
    """The run has one length."""
    train = recipe.train
    if train.max_steps is None or "epochs" not in train.model_fields_set:
        return None
    what = f"the run cannot have both max_steps {train.max_steps} and epochs {train.epochs:g}"
    return what, "keep one of them"


@rules.add("data.streaming", "train.max_steps")
def a_stream_has_no_known_end(recipe: Recipe) -> tuple[str, str] | None:
    """Nobody has counted a stream's rows."""
    if not recipe.data.streaming or recipe.train.max_steps is not None:
        return None
    return "a stream's length is not known, and max_steps is not said", "write `train.max_steps`"


@rules.add("data.streaming", "method")
def answers_are_drawn_to_known_prompts(recipe: Recipe) -> tuple[str, str] | None:
    """A run that draws answers may ask again, and goes on in the order of its prompts."""
    if not recipe.data.streaming or recipe.method.wants != "prompts":
        return None
    what = f"`{recipe.method.name}` draws answers to prompts, which streaming does not keep"
    return what, "leave `data.streaming` out"


@rules.add("data.streaming", "data.validation", "data.on_duplicate", "data.near_duplicates")
def a_stream_is_never_whole(recipe: Recipe) -> tuple[str, str] | None:
    """What looks at all rows at once cannot look at a stream's."""
    data = recipe.data
    if not data.streaming:
        return None
    if not isinstance(data.validation, str) and data.validation:
        what = f"of a stream no share of {data.validation:g} can be held out"
        return what, "validation: the name or path of other rows"
    if data.on_duplicate != "keep" or data.near_duplicates is not None:
        what = "a stream's duplicates are not looked for"
        return what, "leave on_duplicate and near_duplicates out"
    return None


@rules.add("method.reference")
def adapters_can_be_switched_off(recipe: Recipe) -> tuple[str, str] | None:
    """A reference by switched-off adapters needs adapters."""
    reference = recipe.method.model_dump().get("reference")
    if reference != "adapters_off" or recipe.tuner.adapters:
        return None
    what = f"the reference is `adapters_off`, but the tuner `{recipe.tuner.name}` has no adapters"
    return what, "write `reference: model`, or `tuner: lora`"


@rules.add("reward")
def rewards_judge_what_was_drawn(recipe: Recipe) -> tuple[str, str] | None:
    """A method that draws no answers has none to judge."""
    if not recipe.reward or recipe.method.wants == "prompts":
        return None
    what = f"`{recipe.method.name}` draws no answers that `reward` could judge"
    online = [name for name in methods if methods.get(name).wants == "prompts"]
    return what, " or ".join(f"write `method: {n}`" for n in online) or "leave `reward` out"


@rules.add("method.label_smoothing", "method.loss")
def dft_takes_labels_as_they_are(recipe: Recipe) -> tuple[str, str] | None:
    """A loss that trusts the model's own probabilities has no labels to smooth."""
    said = recipe.method.model_dump()
    if said.get("loss") != "dft" or not said.get("label_smoothing"):
        return None
    return "`loss: dft` and `label_smoothing` do not go together", "keep one of them"


@rules.add("quant", "tuner")
def packed_weights_stay(recipe: Recipe) -> tuple[str, str] | None:
    """A weight in 4 bits cannot be trained: something beside it must be."""
    if recipe.quant is None or recipe.tuner.adapters:
        return None
    tuner = recipe.tuner.name
    what = f"`quant: {recipe.quant.name}` freezes the weights, but `tuner: {tuner}` trains them"
    return what, "write `tuner: lora`, or leave `quant` out"


@rules.add("parallel.strategy", "parallel.tensor_model_parallel_size", "quant")
def packed_weights_are_whole(recipe: Recipe) -> tuple[str, str] | None:
    """A packed weight is not cut into shards yet."""
    parallel = recipe.parallel
    cut = "strategy fsdp" if parallel.strategy == "fsdp" else ""
    if parallel.tensor_model_parallel_size > 1:
        cut = f"tensor_model_parallel_size {parallel.tensor_model_parallel_size}"
    if recipe.quant is None or not cut:
        return None
    what = f"`quant: {recipe.quant.name}` with {cut} comes later"
    return what, "write `parallel: ddp`, or leave `quant` out"


@rules.add("task", "method")
def pairs_are_conversations(recipe: Recipe) -> tuple[str, str] | None:
    """A method that compares two answers needs conversations."""
    if recipe.task != "text" or len(recipe.method.sides) == 1:
        return None
    what = f"`{recipe.method.name}` compares two answers, but the task is `{recipe.task}`"
    return what, "write `task: chat`"


@rules.add("parallel.strategy", "parallel.nproc_per_node")
def one_process_is_not_several(recipe: Recipe) -> tuple[str, str] | None:
    """`strategy: none` is one process."""
    processes = recipe.parallel.nproc_per_node
    if recipe.parallel.strategy != "none" or processes in ("auto", 1):
        return None
    what = f"`strategy: none` is one process, but nproc_per_node is {processes}"
    return what, "write `strategy: ddp`, or `nproc_per_node: 1`"


@rules.add("parallel.tensor_model_parallel_size", "parallel.strategy")
def one_process_shares_nothing(recipe: Recipe) -> tuple[str, str] | None:
    """Tensor parallelism needs several processes."""
    size = recipe.parallel.tensor_model_parallel_size
    if recipe.parallel.strategy != "none" or size == 1:
        return None
    what = f"`strategy: none` is one process, but tensor_model_parallel_size is {size}"
    return what, "write `strategy: auto`"


@rules.add("parallel.tensor_model_parallel_size", "parallel.nproc_per_node")
def tensor_parallel_divides_processes(recipe: Recipe) -> tuple[str, str] | None:
    """Every group of tensor parallelism is whole, and on one machine."""
    size, processes = recipe.parallel.tensor_model_parallel_size, recipe.parallel.nproc_per_node
    if processes == "auto" or processes % size == 0:
        return None
    fits = [str(n) for n in range(1, processes + 1) if processes % n == 0]
    what = f"tensor_model_parallel_size {size} does not divide nproc_per_node {processes}"
    return what, "one of " + ", ".join(fits)
