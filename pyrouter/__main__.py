"""`python -m pyrouter`: the command `pyrouter`, by whichever Python runs it."""

from pyrouter.cli import main

main()
