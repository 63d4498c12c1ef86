"""Plan: the one value that a worker gets, and its file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from swift.core.errors import PlanError, Problem
from swift.core.plugins import Used, load_again
from swift.core.schema import Value
from swift.model.facts import ModelFacts
from swift.parallel import strategies
from swift.recipe import Recipe
from swift.reward import Reward, listed


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
    """torch's kind of device; `accelerators.csv` lists them."""

    dtype: str
    """What matrices are multiplied in."""

    attention: str
    """transformers' implementation of attention: sdpa, flash_attention_2, eager."""

    template: str = "auto"
    """How conversations are written: auto (the model's own), a wire, the path of a Jinja file."""

    verdict: str = ""
    """What trying the template brought, in one line; "" for plain text."""

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

    plugins: tuple[Used, ...] = ()
    """The code of others that it takes part in, to the byte."""

    reward: Annotated[tuple[SerializeAsAny[Reward], ...], BeforeValidator(listed)] = ()
    """What judges drawn answers: the recipe's, or what stands in for it; files by whole path."""

    code: tuple[Used, ...] = ()
    """The files of others that rewards run, to the byte; a checkpoint is opened without them."""

    notes: tuple[str, ...] = ()
    """Decisions the user did not make, said aloud."""

    @property
    def digest(self) -> str:
        """Return the fingerprint of what the plan means; where it runs from does not count."""
        meaning = self.model_dump(mode="json", exclude={"output_dir", "notes", "verdict"})
        for plugin in (*meaning["plugins"], *meaning["code"]):
            plugin.pop("place")
        for reward in meaning["reward"]:  # where they are, the recipe says in its own words
            reward.pop("path", None)
            reward.pop("id", None)
        # where it goes, who is told, and what comes afterwards
        for key in ("output_dir", "report", "engine", "serve"):
            meaning["recipe"].pop(key, None)
        text = json.dumps(meaning, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def describe(self) -> str:
        """Return the plan as a few lines for people."""
        r, m, s = self.recipe, self.model, self.sizes
        whole = self.data_world * s.micro * s.accumulation
        wide = f"{self.world} x {self.device}" if self.world > 1 else self.device
        lines = {
            "model": f"{m.id}  {m.architecture}, {m.parameters / 1e6:,.2f} M weights",
            "data": ", ".join(d.name for d in r.dataset) + f"  (task {r.task})",
            **({"template": self.verdict} if self.verdict else {}),
            "method": f"{r.method.name}  {_options(r.method)}",
            **({"reward": ", ".join(map(_weighed, self.reward))} if self.reward else {}),
            "tuner": f"{r.tuner.name}  {_options(r.tuner)}",
            **({"quant": f"{r.quant.name}  {_options(r.quant)}"} if r.quant else {}),
            "batch": f"{s.batch} {'packs' if r.data.packing else 'samples'} a step"
            f" = {self.data_world} x {s.micro} x {s.accumulation}"
            " (ranks x micro-batch x accumulation)"
            + (", not all full" if whole != s.batch else ""),
            "rate": f"{self.learning_rate:g}, {r.train.schedule}, warmup {r.train.warmup:g}",
            "compute": f"{self.dtype} on {wide}, {self.strategy}, {self.attention} attention",
            "run folder": self.output_dir or "runs/… (the next free name)",
        }
        text = "\n".join(f"{k:>14}  {v}" for k, v in lines.items())
        return text + "".join(f"\n{'note':>14}  {n}" for n in self.notes)

    @property
    def room(self) -> int:
        """Most tokens of a sequence: `max_length`, or what the model reads if that is less."""
        most = self.recipe.data.max_length
        return min(most, self.model.context) if self.model.context else most

    @property
    def end_to_end(self) -> bool:
        """Whether the samples of a micro-batch should share a row."""
        free = self.recipe.data.padding_free
        return self.recipe.data.packing or self.shared if free == "auto" else free

    @property
    def shared(self) -> bool:
        """Whether answers to one question, where there are several, should share its compute.

        Noise on what the model reads depends on the whole sequence: then each has its own prompt.
        """
        return self.recipe.method.alike > 1 and not self.recipe.train.neftune

    @property
    def data_world(self) -> int:
        """Ranks that read rows of their own."""
        return 1 if strategies.get(self.strategy).same_rows else self.world


def _weighed(reward: Reward) -> str:
    return reward.label if reward.weight == 1 else f"{reward.weight:g} x {reward.label}"


def _options(component: Value) -> str:
    said = component.model_dump(mode="json")
    return ", ".join(f"{k} {v}" for k, v in said.items() if k != "name")


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
        UserError: A plug-in that it was made with is not here.
    """
    path = folder / "plan.json"
    try:
        dump = json.loads(path.read_text(encoding="utf-8"))
        digest = dump.pop("digest")
        # a live function's code has no place: the run asks for the function itself
        code = [used for used in dump.get("code", ()) if used["place"]]
        load_again([Used(**used) for used in (*dump.get("plugins", ()), *code)], str(path))
        plan = Plan.model_validate(dump)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PlanError(
            Problem(where=str(path), what=f"no readable plan: {error}", fix="give a run folder")
        ) from error
    if plan.digest != digest:
        raise PlanError(
            Problem(where=str(path), what="the plan was changed by hand", fix="start a new run")
        )
    return plan
