"""`python -m swift` is the `swift` command."""

from swift.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
