"""What pyrouter costs, each figure beside a yardstick from the same run.

Start with `make bench`, or `python -m benches.run --help`.

- `floor/`: the yardsticks in C, and the load that drives them and `pyrouter serve` alike.
- `run.py`: runs the rows of the budget one after another and writes the tables of docs/performance.md.
- `direct.py`, `memory.py`, `log_bytes.py`, `recovery.py`: one row each, or a few.
- `harness.py`: server processes and what is measured of them; `figures.py`: medians, budgets, tables.
- `test_*.py`: pytest-benchmark suites for what can be driven from Python, to compare one commit with another.
- core_rs/benches: the same for the parts of the core.

A benchmark checks the answer that it got: the load verifies every body, number and receipt.
"""
