"""`python -m swift.serve` is `swift serve`."""

from __future__ import annotations

import sys
from importlib import import_module

if __name__ == "__main__":
    # by name: the command line stands above this part, which therefore does not import it
    sys.exit(import_module("swift.cli.main").main(["serve", *sys.argv[1:]]))
