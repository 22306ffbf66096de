"""`python -m netloom` is the `netloom` command."""

from netloom.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
