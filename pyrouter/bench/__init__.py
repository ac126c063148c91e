"""`pyrouter bench`: a load tester that checks every answer.

The clients are native code (`pyrouter._core.Load`, core_rs/load/src/) in worker processes of their own; the server is a
process too, so that what each costs can be told apart. Here is what leads them:

- `options.py` what is wanted; `run.py` the way from there to a result; `scenarios/` what happens, one file each;
- `target.py` the server, its own or somebody else's; `pool.py` the worker processes, `worker.py` one of them;
- `times.py`, `result.py`, `progress.py` what is told, at the end and meanwhile.

Nothing here is imported by a server.
"""
