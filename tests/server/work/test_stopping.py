"""Processes stop when they are told to, also at the worst moment."""

from __future__ import annotations

import subprocess
import sys

# tells itself to stop again and again, each time a little earlier or later around the beginning of
# the wait
AT_ANY_MOMENT = """
import os, random, signal, threading
from server.nodes.lifecycle import stop_on_signals, wait_for

for _ in range(400):
    stop, go = stop_on_signals(), threading.Event()

    def tell(delay):
        go.wait()
        for _ in range(delay):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    teller = threading.Thread(target=tell, args=(random.randrange(400),))
    teller.start()
    go.set()
    wait_for(stop)
    teller.join()
print("stopped each time")
"""


def test_a_signal_at_the_beginning_of_the_wait_is_not_lost() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", AT_ANY_MOMENT],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert answer.stdout == "stopped each time\n", answer.stderr
