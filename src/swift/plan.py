"""Plan: a Recipe and what is true here. The one value that a worker gets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from swift.core.env import cache_home
from swift.core.errors import PlanError, Problem, SwiftError
from swift.core.machine import Machine, machine
from swift.core.schema import Value
from swift.model.facts import ModelFacts, read_facts
from swift.model.find import find_model
from swift.recipe import Recipe


class Sizes(Value):
    """How many Samples meet where."""

    batch: int
    """In one optimiser step, over all ranks."""

    micro: int
    """In one forward on one device."""

    accumulation: int
    """Forwards of one rank in a full step."""


class Plan(Value):
    """Everything a run needs to know, decided. Written to plan.json."""

    recipe: Recipe
    """What the user said."""

    model: ModelFacts
    """What is true of the model."""

    reference: ModelFacts | None = None
    """What is true of the reference model, where the method names one."""

    device: str
    """torch's kind of device: cpu, cuda."""

    dtype: str
    """What matrices are multiplied in."""

    attention: str
    """transformers' implementation of attention: sdpa, eager."""

    strategy: str
    """A member of `parallel/`: none, ddp, fsdp, tp."""

    world: int
    """Number of processes."""

    sizes: Sizes
    """How many Samples meet where."""

    learning_rate: float
    """The peak of the schedule."""

    gradient_checkpointing: bool
    """Whether activations are computed again in the backward pass."""

    output_dir: str
    """The run folder; "" until one is taken under runs/."""

    notes: tuple[str, ...] = ()
    """Decisions the user did not make, said aloud."""

    @property
    def digest(self) -> str:
        """Return the fingerprint of what the plan means; where it runs from does not count."""
        meaning = self.model_dump(mode="json", exclude={"output_dir", "notes"})
        for key in ("output_dir", "engine", "serve"):  # where it goes, and what comes afterwards
            meaning["recipe"].pop(key, None)
        text = json.dumps(meaning, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def describe(self) -> str:
        """Return the plan as a few lines for people."""
        r, m, s = self.recipe, self.model, self.sizes
        wide = f"{self.world} x {self.device}" if self.world > 1 else self.device
        lines = {
            "model": f"{m.id}  {m.architecture}, {m.parameters / 1e6:,.2f} M weights",
            "data": ", ".join(d.name for d in r.dataset) + f"  (task {r.task})",
            "method": f"{r.method.name}  {_options(r.method)}",
            "tuner": f"{r.tuner.name}  {_options(r.tuner)}",
            **({"quant": f"{r.quant.name}  {_options(r.quant)}"} if r.quant else {}),
            "batch": f"{s.batch} samples a step = {self.data_world} x {s.micro} x {s.accumulation}"
            " (ranks x micro-batch x accumulation)",
            "rate": f"{self.learning_rate:g}, {r.train.schedule}, warmup {r.train.warmup:g}",
            "compute": f"{self.dtype} on {wide}, {self.strategy}, {self.attention} attention",
            "run folder": self.output_dir or "runs/… (the next free name)",
        }
        text = "\n".join(f"{k:>14}  {v}" for k, v in lines.items())
        return text + "".join(f"\n{'note':>14}  {n}" for n in self.notes)

    @property
    def data_world(self) -> int:
        """Ranks that read rows of their own."""
        return 1 if self.strategy == "tp" else self.world


def _options(component: Value) -> str:
    said = component.model_dump(mode="json")
    return ", ".join(f"{k} {v}" for k, v in said.items() if k != "name")


Rule = Callable[[Recipe, ModelFacts, Machine], Problem | None]
_rules: list[Rule] = []


def rule(check: Rule) -> Rule:
    """Add a check of what cannot be done here; all are run, all problems are reported."""
    _rules.append(check)
    return check


def resolve(
    recipe: Recipe,
    *,
    world: int | None = None,
    facts: ModelFacts | None = None,
    rows: bool = False,
) -> Plan:
    """Return the plan of `recipe` on this machine.

    Args:
        recipe: What the user said.
        world: Number of processes, when they are already started; else the recipe's wish counts.
        facts: What is true of a live model; else it is read from the recipe's.
        rows: Whether rows are brought along, so that the recipe's names are not looked up.

    Raises:
        PlanError: What cannot be done here, all of it.
    """
    here = machine()
    facts = facts or read_facts(recipe.model.id, find_model(recipe.model.id, cache_home()))
    wanted = recipe.parallel.nproc_per_node
    processes = world or (max(1, here.gpus) if wanted == "auto" else wanted)
    problems = [p for check in _rules if (p := check(recipe, facts, here))]
    problems += [] if rows else _of_data(recipe)
    reference = _reference(recipe, facts, problems)
    if recipe.quant is not None and (lack := recipe.quant.missing()):
        problems.append(lack)
    if world and wanted not in ("auto", world):
        problems.append(
            Problem(
                where="parallel.nproc_per_node",
                what=f"it is {wanted}, but {world} processes were started",
                fix=f"nproc_per_node: {world}, or leave it out",
            )
        )
    strategy = _strategy(recipe, processes, problems)
    if problems:
        raise PlanError(problems)
    plan = _decided(recipe, facts, here, processes, strategy)
    return plan.model_copy(update={"reference": reference})


def _reference(recipe: Recipe, facts: ModelFacts, problems: list[Problem]) -> ModelFacts | None:
    """Return the facts of the model that the method's `reference` names, if it names one."""
    named = getattr(recipe.method, "reference", "auto")
    if named in ("auto", "adapters_off", "model"):
        return None
    try:
        found = read_facts(named, find_model(named, cache_home()))
    except PlanError as error:
        problems += [replace(p, where="method.reference") for p in error.problems]
        return None
    if found.vocabulary != facts.vocabulary:
        problems.append(
            Problem(
                where="method.reference",
                what=f"{named} knows {found.vocabulary} tokens and {facts.id} {facts.vocabulary}",
                fix="give a reference with the same tokenizer",
            )
        )
    return found


def _decided(recipe: Recipe, facts: ModelFacts, here: Machine, world: int, strategy: str) -> Plan:
    notes: list[str] = []
    rate = recipe.train.learning_rate
    if rate == "auto":
        rate = _learning_rate(recipe, facts)
        notes.append(f"learning rate {rate:g}, since the recipe names none")
    device = "cuda" if here.gpus else "cpu"
    dtype: str = recipe.model.dtype
    if dtype == "auto" and facts.given:
        dtype = facts.dtype
    elif dtype == "auto":
        dtype = "bfloat16" if here.bfloat16 else "float16" if here.gpus else "float32"
        notes.append(f"computes in {dtype}: the best {device} here does well")
    again = recipe.train.gradient_checkpointing
    sizes = _sizes(recipe, 1 if strategy == "tp" else world, device)
    return Plan(
        recipe=recipe,
        model=facts,
        device=device,
        dtype=dtype,
        attention="sdpa" if recipe.model.attention == "auto" else recipe.model.attention,
        strategy=strategy,
        world=world,
        sizes=sizes,
        learning_rate=rate,
        # Without an estimate: activations are what fills a GPU; a CPU has memory, not time.
        gradient_checkpointing=device == "cuda" if again == "auto" else again,
        output_dir=recipe.output_dir or "",
        notes=tuple(notes),
    )


def _learning_rate(recipe: Recipe, facts: ModelFacts) -> float:
    """1e-4 for adapters, 1e-5 otherwise; x 25 under 10 M weights, where steps must be larger."""
    usual = 1e-4 if recipe.tuner.adapters else 1e-5
    return usual * 25 if facts.parameters < 10**7 else usual


def _sizes(recipe: Recipe, ranks: int, device: str) -> Sizes:
    """Two of batch_size, micro_batch_size and accumulation give the third; 16 by default."""
    train = recipe.train
    batch, again = train.batch_size, train.gradient_accumulation_steps
    if train.micro_batch_size != "auto":
        micro = train.micro_batch_size
    else:
        batch = 16 if batch is None and again is None else batch
        most = 8 if device == "cuda" else 4
        share = most if batch is None else max(1, batch // ranks)
        micro = -(-share // again) if again and batch else min(most, share)
    if batch is None:
        batch = micro * (again or 1) * ranks
    return Sizes(batch=batch, micro=micro, accumulation=-(-batch // (micro * ranks)))


def _strategy(recipe: Recipe, world: int, problems: list[Problem]) -> str:
    wish, tp = recipe.parallel.strategy, recipe.parallel.tensor_model_parallel_size
    if tp > 1:
        if tp != world:
            problems.append(
                Problem(
                    where="parallel.tensor_model_parallel_size",
                    what=f"tensor parallel over {tp} of {world} processes is not there yet",
                    fix=f"nproc_per_node: {tp}",
                )
            )
        if wish in ("ddp", "fsdp"):
            problems.append(
                Problem(
                    where="parallel.strategy",
                    what=f"{wish} together with tensor parallel is not there yet",
                    fix="leave strategy out",
                )
            )
        return "tp"
    if wish == "none" and world > 1:
        problems.append(
            Problem(
                where="parallel.strategy",
                what=f"strategy none means one process, but there are {world}",
                fix="strategy: ddp",
            )
        )
    return wish if wish != "auto" else "ddp" if world > 1 else "none"


def _of_data(recipe: Recipe) -> list[Problem]:
    from swift.dataset.sources import find

    problems: list[Problem] = []
    names = [d.name for d in recipe.dataset]
    if isinstance(recipe.data.validation, str):
        names.append(recipe.data.validation)
    for name in names:
        try:
            find(name)
        except SwiftError as error:
            problems += error.problems
    return problems


@rule
def _tp_divides_heads(recipe: Recipe, facts: ModelFacts, here: Machine) -> Problem | None:
    """Tensor parallelism splits attention by key/value heads."""
    tp = recipe.parallel.tensor_model_parallel_size
    if facts.kv_heads % tp == 0:
        return None
    good = [d for d in range(1, facts.kv_heads + 1) if facts.kv_heads % d == 0]
    return Problem(
        where="parallel.tensor_model_parallel_size",
        what=f"it is {tp}, but {facts.id} has {facts.kv_heads} key/value heads",
        fix=f"one of {good}",
    )


@rule
def _enough_gpus(recipe: Recipe, facts: ModelFacts, here: Machine) -> Problem | None:
    """One process drives one GPU."""
    wanted = recipe.parallel.nproc_per_node
    if wanted == "auto" or not here.gpus or wanted <= here.gpus:
        return None
    return Problem(
        where="parallel.nproc_per_node",
        what=f"it is {wanted}, but this machine has {here.gpus} GPUs",
        fix=f"at most {here.gpus}",
    )


@rule
def _fits_context(recipe: Recipe, facts: ModelFacts, here: Machine) -> Problem | None:
    """Positions beyond what the model was made for are noise to it."""
    if not facts.context or recipe.data.max_length <= facts.context:
        return None
    if "max_length" not in recipe.data.model_fields_set:
        return None  # the default is cut to the model's own length while encoding
    return Problem(
        where="data.max_length",
        what=f"it is {recipe.data.max_length}, but {facts.id} reads at most {facts.context} tokens",
        fix=f"max_length: {facts.context}",
    )


def write_plan(plan: Plan, folder: Path) -> None:
    """Write plan.json into a run folder."""
    from swift.core.files import write_text

    dump: dict[str, Any] = plan.model_dump(mode="json")
    dump["digest"] = plan.digest
    write_text(folder / "plan.json", json.dumps(dump, indent=2, ensure_ascii=False) + "\n")


def read_plan(folder: Path) -> Plan:
    """Return the plan of a run folder.

    Raises:
        PlanError: plan.json is missing or was changed by hand.
    """
    path = folder / "plan.json"
    try:
        dump = json.loads(path.read_text(encoding="utf-8"))
        digest = dump.pop("digest")
        plan = Plan.model_validate(dump)
    except (OSError, ValueError, KeyError) as error:
        raise PlanError(
            Problem(where=str(path), what=f"no readable plan: {error}", fix="give a run folder")
        ) from error
    if plan.digest != digest:
        raise PlanError(
            Problem(where=str(path), what="the plan was changed by hand", fix="start a new run")
        )
    return plan
