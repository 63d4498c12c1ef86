"""Recipe + what is true here -> Plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from swift.core.device import CPU
from swift.core.env import cache_home
from swift.core.errors import PlanError, Problem, UserError
from swift.core.machine import Machine, machine
from swift.core.plugins import used
from swift.model.abilities import served
from swift.model.facts import ModelFacts, read_config, read_facts
from swift.model.find import find_model
from swift.model.quirks import made_of
from swift.parallel import strategies
from swift.plan.device import choose
from swift.plan.rewarding import judges
from swift.plan.rules import broken, of_data, ragged_groups
from swift.plan.speech import decided
from swift.plan.value import Plan, Sizes
from swift.recipe import Recipe
from swift.recipe.sections import Model


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
    facts = facts or _facts(recipe.model)
    wanted = recipe.parallel.nproc_per_node
    processes = world or (max(1, here.count) if wanted == "auto" else wanted)
    problems = broken(recipe, facts, here)
    problems += [] if rows else of_data(recipe)
    reference = _reference(recipe, facts, problems)
    problems += [lack for report in recipe.report if (lack := report.missing())]
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
    judging = judges(recipe, problems)
    problems += _of_tokens(recipe, facts)
    strategy = _strategy(recipe, processes, problems)
    template, verdict = decided(recipe, facts, problems)
    if problems:
        raise PlanError(problems)
    plan = _decided(recipe, facts, here, processes, strategy)
    if lack := ragged_groups(recipe, plan.sizes.batch):
        raise PlanError(lack)
    more = {
        "reference": reference,
        "template": template,
        "verdict": verdict,
        "reward": judging.rewards,
        "code": judging.code,
        "notes": (*plan.notes, *_of_rows(plan), *judging.notes),
    }
    return plan.model_copy(update=more)


def moved(plan: Plan, recipe: Recipe) -> Plan:
    """Return `plan` on other processes: its steps stay, their cut into micro-batches may not.

    Args:
        plan: Of a run that goes on.
        recipe: The plan's, but for `parallel`.

    Raises:
        PlanError: It differs in more, or cannot be done here.
    """
    parallel, here = recipe.parallel, machine()
    if recipe.model_copy(update={"parallel": plan.recipe.parallel}).full() != plan.recipe.full():
        what = "it is not the recipe that the run began with"
        fix = "bring back what it was; only `parallel` may be another"
        raise PlanError(Problem(where="recipe.yaml", what=what, fix=fix))
    wanted = parallel.nproc_per_node
    world = max(1, here.count) if wanted == "auto" else wanted
    if world == 1 and parallel.strategy == plan.recipe.parallel.strategy:
        parallel = parallel.model_copy(update={"strategy": "auto"})  # of several processes
        recipe = recipe.model_copy(update={"parallel": parallel})
    problems = broken(recipe, plan.model, here)
    strategy = _strategy(recipe, world, problems)
    if problems:
        raise PlanError(problems)
    ranks = 1 if strategies.get(strategy).same_rows else world
    batch = plan.sizes.batch
    micro = min(plan.sizes.micro, max(1, batch // ranks))
    sizes = Sizes(batch=batch, micro=micro, accumulation=-(-batch // (micro * ranks)))
    note = f"goes on as {strategy} x {world}, after {plan.strategy} x {plan.world}"
    spread = {"recipe": recipe, "strategy": strategy, "world": world, "sizes": sizes}
    return plan.model_copy(update={**spread, "notes": (*plan.notes, note)})


def _facts(said: Model) -> ModelFacts:
    """Return the facts of the recipe's model, which is fetched if it is not here."""
    trust = said.trust_remote_code
    folder = find_model(said.id, cache_home(), hub=said.hub, revision=said.revision, trust=trust)
    return read_facts(said.id, folder, trust=trust)


def _reference(recipe: Recipe, facts: ModelFacts, problems: list[Problem]) -> ModelFacts | None:
    """Return the facts of the model that the method's `reference` names, if it names one."""
    named = getattr(recipe.method, "reference", "auto")
    if named in ("auto", "adapters_off", "model"):
        return None
    try:
        folder = find_model(named, cache_home())
        trust = recipe.model.trust_remote_code and str(folder) == facts.folder
        found = read_facts(named, folder, trust=trust)
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
    notes = _of_its_code(recipe, facts)
    rate = recipe.train.learning_rate
    if rate == "auto":
        rate = _learning_rate(recipe, facts)
        notes.append(f"learning rate {rate:g}, since the recipe names none")
    choice = choose(recipe, facts, here, strategy)
    notes += [*choice.notes, *_of_answering(recipe, facts)]
    if recipe.quant is not None and recipe.method.wants == "prompts":
        notes.append("answers are drawn by the weights as they were before `quant` packed them")
    again = recipe.train.gradient_checkpointing
    data_world = 1 if strategies.get(strategy).same_rows else world
    sizes = _sizes(recipe, data_world, choice.device)
    return Plan(
        recipe=recipe,
        model=facts,
        device=choice.device,
        dtype=choice.dtype,
        attention=choice.attention,
        strategy=strategy,
        world=world,
        sizes=sizes,
        learning_rate=rate,
        # Without an estimate: activations are what fills a GPU; a CPU has memory, not time.
        gradient_checkpointing=choice.device != CPU if again == "auto" else again,
        output_dir=recipe.output_dir or "",
        plugins=used(recipe.plugins),
        notes=tuple(notes),
    )


def _of_its_code(recipe: Recipe, facts: ModelFacts) -> list[str]:
    """Say what code of the model's own runs, and what a model was rewritten from."""
    notes = [facts.code.said()] if facts.code else []
    if recipe.model.trust_remote_code and not facts.code:
        notes.append("no code of the model's own runs: it is not needed")
    made = made_of(Path(facts.folder)) if facts.folder else {}
    if made:
        notes.append(f"{made['of']} is opened as {facts.architecture}, without its own code")
        notes += made["notes"]
    return notes


def _of_answering(recipe: Recipe, facts: ModelFacts) -> list[str]:
    """Say before a training that its model will not be served."""
    if not facts.folder or facts.code or recipe.engine.name != "torch":
        return []
    if "score" in recipe.method.needs or recipe.method.wants == "prompts":
        return []  # no engine answers with the one; with the other it must, or there is no plan
    why = served(read_config(Path(facts.folder)))
    can = (
        "transformers' generate can"
        if not recipe.tuner.adapters
        else ("after `swift merge`, transformers' generate can")
    )
    return [f"the torch engine cannot answer with it: {why}; {can}"] if why else []


def _of_tokens(recipe: Recipe, facts: ModelFacts) -> Sequence[Problem]:
    """Return which of the tokens that have weights the model has not."""
    if not recipe.method.weighed:
        return ()
    from swift.chat.tokenize import Tokenizer  # which takes its time, as numpy does
    from swift.seam.weighing import rules_of

    try:
        rules_of(recipe.method.weighed, Tokenizer.load(facts.voice))
    except UserError as error:
        return error.problems
    return ()


def _of_rows(plan: Plan) -> list[str]:
    """Say that answers share a prompt, where the recipe leaves that open."""
    if plan.recipe.data.padding_free != "auto" or not (plan.shared and plan.end_to_end):
        return []
    return ["answers to one question share its compute, in rows without padding"]


def _learning_rate(recipe: Recipe, facts: ModelFacts) -> float:
    """1e-4 for adapters, 1e-5 otherwise; x 25 under 10 M weights, where steps must be larger."""
    usual = 1e-4 if recipe.tuner.adapters else 1e-5
    return usual * 25 if facts.parameters < 10**7 else usual


def _sizes(recipe: Recipe, ranks: int, device: str) -> Sizes:
    """Two of batch_size, micro_batch_size and accumulation give the third; 16 by default.

    Of an online method it is the next multiple of its groups.
    """
    train, whole = recipe.train, getattr(recipe.method, "group", 1)
    batch, again = train.batch_size, train.gradient_accumulation_steps
    if train.micro_batch_size != "auto":
        micro = train.micro_batch_size
    else:
        usual = -(-16 // whole) * whole
        batch = usual if batch is None and again is None else batch
        most = 1 if recipe.data.packing else 4 if device == CPU else 8
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
