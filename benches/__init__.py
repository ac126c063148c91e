"""What pyrouter costs, each figure beside a yardstick from the same run.

Start with `make bench`, or `python -m benches.run --help`.

- `floor/`: the yardsticks in C, and the load that drives them and `pyrouter serve` alike.
- `run.py`: runs the rows of the budget one after another and writes the tables of docs/performance.md.
- `direct.py`, `fanout.py`, `memory.py`, `idle.py`, `log_bytes.py`, `recovery.py`: one row each, or a few, with the load
  in C.
- `scenarios.py`: rows that `pyrouter bench` measures; `others.py`: other servers, for context; `sweeps.py`: the plots.
- `gate.py`: the same in short, held to limits: `make bench-gate`; `handicap.py`: a server that must fail it.
- `harness.py`: server processes and what is measured of them; `figures.py`: medians, budgets, tables; `plot.py`: SVG.
- `holding.py`, `wire.py`, `inprocess.py`: idle connections, single frames, the core without sockets.
- `reference.py`: a router in plain Python, what the core is compared with; `plain.py`: its frames in and out.
- `test_*.py`: pytest-benchmark suites for each step of the core and for the whole server, each beside its yardstick.
- core_rs/benches: the same for the parts of the core.

A benchmark checks the answer that it got: the load verifies every body, number and receipt.
"""
