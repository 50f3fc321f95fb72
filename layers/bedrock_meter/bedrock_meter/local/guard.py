"""Runs the local AWS stack, and ends it when whoever started it is gone.

Started as a file by the local stack's own Python, which has nothing of ours installed. Its standard input is a pipe
that its starter holds open: the pipe closes with the starter, however that ended, and so nothing is left running.
"""

import os
import runpy
import signal
import sys
import threading
import time

GRACE_S = 10


def end_with_starter() -> None:
    """Wait for the end of standard input, then end this process: politely, then at once."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_starter, daemon=True).start()
    sys.argv = ["ministack"]
    runpy.run_module("ministack", run_name="__main__", alter_sys=True)
