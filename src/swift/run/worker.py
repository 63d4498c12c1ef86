"""One rank of a run: `python -m swift.run.worker RUN_FOLDER`, started by torchrun."""

from __future__ import annotations

import sys
from pathlib import Path

from swift.checkpoint import newest
from swift.core.errors import SwiftError
from swift.plan import Plan, read_plan
from swift.run.train import train
from swift.run.world import from_rank_zero, joined


def main() -> int:
    """Carry out the plan of the run folder as one rank; return the exit code.

    Rank 0 reads the plan and the newest checkpoint's name; the others get its bytes, so that all
    go on from the same place even where a shared disk is slow to show a folder.
    """
    folder = Path(sys.argv[1])
    device = read_plan(folder).device
    with joined(device) as ranks:
        plan = Plan.model_validate_json(
            from_rank_zero(lambda: read_plan(folder).model_dump_json().encode())
        )
        name = from_rank_zero(lambda: str(newest(folder) or "").encode()).decode()
        try:
            train(plan, folder, ranks, Path(name) if name else None, lambda event: None)
        except SwiftError as error:
            sys.stderr.write(f"{error}\n")
            return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
