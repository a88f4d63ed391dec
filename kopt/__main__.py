"""``python -m kopt`` is the command line."""

from kopt.cli import main

main()
