"""Takes the last checkpoint of the pre-training run into the package, in half precision.

python bench/nano/ship.py RUN
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

import swift
from swift.checkpoint import newest

FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


def ship(checkpoint: Path, target: Path) -> None:
    """Write `checkpoint` into `target` as a package holds it: half precision, for all to read."""
    target.mkdir(exist_ok=True)
    for name in FILES:
        shutil.copyfile(checkpoint / name, target / name)
    config = json.loads((checkpoint / "config.json").read_text())
    config["dtype"] = "float16"
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {k: w.half() for k, w in load_file(checkpoint / "model.safetensors").items()}
    weights.pop("lm_head.weight", None)  # tied
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    (target / "model.safetensors").chmod(0o644)  # safetensors writes for its owner alone


def main() -> None:
    checkpoint = newest(Path(sys.argv[1]))
    assert checkpoint is not None, "no checkpoint there"
    target = Path(swift.__file__).parent / "model" / "nano"
    ship(checkpoint, target)
    size = (target / "model.safetensors").stat().st_size
    print(f"{target}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
