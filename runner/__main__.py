"""`python -m runner MANIFEST`."""

from runner.cli import main

main()
