"""Training under a torchrun of one's own; the flags are those of `swift train`.

    torchrun --nproc_per_node=2 train.py --parallel_strategy=ddp --batch_size=64 --use_lora=False

`swift train` starts torchrun by itself, so this file is for clusters whose scheduler wants to.
"""

import sys

from swift.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["train", *sys.argv[1:]]))
