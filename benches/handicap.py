"""`pyrouter serve`, slowed on purpose: for whatever CPU the server uses, this burns so many times as much beside it.

    python -m benches.handicap 1.0 serve …

That is how the gate is shown to see a slower build: the server does all that it did, and costs twice as much. The
burning thread works without the GIL, so that it takes nothing from the event loop but its core.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time

from pyrouter.cli import main

EVERY_S = 0.002
ITERATIONS = 200  # of a hash, about 100 µs


def burn(times: float) -> None:
    """Keeps this thread's CPU at so many times that of all others, for ever."""
    while True:
        ours = time.thread_time()
        if ours < times * (time.process_time() - ours):
            hashlib.pbkdf2_hmac("sha256", b"handicap", b"salt", ITERATIONS)
        else:
            time.sleep(EVERY_S)


def serve(times: float, arguments: list[str]) -> None:
    """Runs `pyrouter` with these arguments beside the burning."""
    threading.Thread(target=burn, args=(times,), daemon=True).start()
    sys.argv = ["pyrouter", *arguments]
    main()


if __name__ == "__main__":
    serve(float(sys.argv[1]), sys.argv[2:])
