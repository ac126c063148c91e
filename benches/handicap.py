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
TRIAL = 200  # iterations of a hash, about 100 µs
MOST_S = 0.05  # at a time


def burn(times: float) -> None:
    """Keeps this thread's CPU at so many times that of all others, for ever.

    What is owed is burned in one go: to come back for more, this thread would have to wait for the GIL, which a busy
    loop gives away once in 5 ms.
    """
    begin = time.thread_time()
    hashlib.pbkdf2_hmac("sha256", b"handicap", b"salt", 10 * TRIAL)
    a_second = 10 * TRIAL / (time.thread_time() - begin)
    while True:
        ours = time.thread_time()
        owed = times * (time.process_time() - ours) - ours
        if owed > 0:
            hashlib.pbkdf2_hmac("sha256", b"handicap", b"salt", max(TRIAL, int(min(owed, MOST_S) * a_second)))
        else:
            time.sleep(EVERY_S)


def serve(times: float, arguments: list[str]) -> None:
    """Runs `pyrouter` with these arguments beside the burning."""
    threading.Thread(target=burn, args=(times,), daemon=True).start()
    sys.argv = ["pyrouter", *arguments]
    main()


if __name__ == "__main__":
    serve(float(sys.argv[1]), sys.argv[2:])
