"""One epoch of DPO with the reference's pass, beside TRL: CPU seconds of constructor and training.

    python bench/dpo.py --floor PATH [--pairs 5] [--tuner lora] [--rows 500]  # of make.py

The same model, rows, batches of 8 and options, float32, one compute thread; imports are not
counted. TRL computes its reference's log-probabilities before training; so do we, each time anew.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from beside import PLAIN, compare, cpu_s, is_side, pairs_of_rows, parser, steps_of

BATCH, RATE, LENGTH = 8, 1e-4, 1024


def ours(model: str, data: str, tuner: str, folder: str) -> dict[str, float]:
    """Train with `swift.train_dpo`."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401 - imports are not counted
    import peft  # noqa: F401 - as above
    import torch
    import transformers  # noqa: F401 - as above

    import swift.run.train  # noqa: F401 - as above
    from swift import train_dpo

    begun = cpu_s()
    done = train_dpo(
        model,
        dataset=data,
        tuner=tuner,
        epochs=1,
        batch_size=BATCH,
        micro_batch_size=BATCH,
        learning_rate=RATE,
        max_length=LENGTH,
        save_every=0,
        warmup=0,
        schedule="constant",
        output_dir=folder + "/run",
    )
    steps = steps_of(folder + "/run")
    assert done and torch.get_num_threads() == 1
    return {"cpu_s": cpu_s() - begun, "steps": len(steps), "loss": steps[-1]["loss"]}


def theirs(model: str, data: str, tuner: str, folder: str) -> dict[str, float]:
    """Train with TRL's DPOTrainer."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    torch.set_num_threads(1)
    rows = [json.loads(line) for line in Path(data).read_text(encoding="utf-8").splitlines()]
    begun = cpu_s()
    pairs = Dataset.from_list(
        [
            {
                "prompt": row["messages"][:-1],
                "chosen": row["messages"][-1:],
                "rejected": [{"role": "assistant", "content": row["rejected_response"]}],
            }
            for row in rows
        ]
    )
    options = DPOConfig(
        output_dir=folder,
        precompute_ref_log_probs=True,
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=RATE,
        max_length=LENGTH,
        **PLAIN,
    )
    lora = LoraConfig(r=8, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = DPOTrainer(
        model, args=options, train_dataset=pairs, peft_config=lora if tuner == "lora" else None
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"cpu_s": cpu_s() - begun, "steps": len(losses), "loss": losses[-1]}


def main() -> None:
    if is_side({"ours": ours, "theirs": theirs}):
        return
    options = parser(__doc__)
    options.add_argument("--rows", type=int, default=500)
    asked = options.parse_args()
    rows = pairs_of_rows(asked).read_text(encoding="utf-8").splitlines(keepends=True)
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "pairs.jsonl"
        data.write_text("".join(rows[: asked.rows]), encoding="utf-8")
        words = (str(asked.work / "tiny"), str(data), asked.tuner)
        compare(__file__, words, asked.pairs, "an epoch of DPO", 0.5)


if __name__ == "__main__":
    main()
