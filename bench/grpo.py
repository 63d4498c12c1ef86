"""Steps of GRPO beside TRL: CPU seconds of constructor and training, 8 answers of 64 tokens a step.

    python bench/grpo.py --floor PATH [--pairs 5] [--tuner full] [--steps 20]

The same model, questions, sizes and options, float32, one compute thread; imports are not counted.
A reward that differs from answer to answer lets both learn in every step.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from beside import PLAIN, compare, cpu_s, is_side, pairs_of_rows, parser, steps_of

GROUP, TOKENS, RATE, LENGTH = 8, 64, 1e-4, 1024


def parity(completion_ids: list[list[int]], **columns: Any) -> list[float]:
    """Return the share of even tokens of each answer."""
    return [sum(id % 2 == 0 for id in ids) / max(1, len(ids)) for ids in completion_ids]


def reward(prompts: Any, completions: Any, completion_ids: list[list[int]]) -> list[float]:
    """Return `parity`, with the arguments that ours looks for."""
    return parity(completion_ids)


def ours(model: str, data: str, tuner: str, steps: str, folder: str) -> dict[str, float]:
    """Train with `swift.train_grpo`."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401 - imports are not counted
    import peft  # noqa: F401 - as above
    import torch
    import transformers  # noqa: F401 - as above

    import swift.engine._torch
    import swift.run.train  # noqa: F401 - as above
    from swift import train_grpo

    begun = cpu_s()
    train_grpo(
        model,
        dataset=data,
        reward=reward,
        tuner=tuner,
        group=GROUP,
        max_tokens=TOKENS,
        batch_size=GROUP,
        micro_batch_size=GROUP,
        max_steps=int(steps),
        learning_rate=RATE,
        max_length=LENGTH,
        save_every=0,
        warmup=0,
        schedule="constant",
        output_dir=folder + "/run",
    )
    done = steps_of(folder + "/run")
    assert torch.get_num_threads() == 1
    length = statistics.fmean(e["completions/mean_length"] for e in done)
    return {"cpu_s": cpu_s() - begun, "steps": len(done), "tokens": length}


def theirs(model: str, data: str, tuner: str, steps: str, folder: str) -> dict[str, float]:
    """Train with TRL's GRPOTrainer."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(1)
    rows = [json.loads(line) for line in Path(data).read_text(encoding="utf-8").splitlines()]
    begun = cpu_s()
    options = GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=GROUP,
        num_generations=GROUP,
        max_completion_length=TOKENS,
        max_steps=int(steps),
        learning_rate=RATE,
        loss_type="grpo",
        beta=0.0,
        **PLAIN,
    )
    lora = LoraConfig(r=8, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = GRPOTrainer(
        model,
        reward_funcs=parity,
        args=options,
        train_dataset=Dataset.from_list([{"prompt": row["messages"][:-1]} for row in rows]),
        peft_config=lora if tuner == "lora" else None,
    )
    trainer.train()
    told = [e for e in trainer.state.log_history if "completions/mean_length" in e]
    length = statistics.fmean(e["completions/mean_length"] for e in told)
    return {"cpu_s": cpu_s() - begun, "steps": len(told), "tokens": length}


def main() -> None:
    if is_side({"ours": ours, "theirs": theirs}):
        return
    options = parser(__doc__)
    options.add_argument("--steps", type=int, default=20)
    asked = options.parse_args()
    data = pairs_of_rows(asked)
    words = (str(asked.work / "tiny"), str(data), asked.tuner, str(asked.steps))
    compare(__file__, words, asked.pairs, f"{asked.steps} steps of GRPO", 0.75)


if __name__ == "__main__":
    main()
