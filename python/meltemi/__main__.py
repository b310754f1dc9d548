"""`python -m meltemi`: the command, for processes that start one another."""

from meltemi.cli import main

main()
