"""Runs as a program of its own: ties this process's life to its parent's, then becomes the program named after.

`python tether.py SIGNAL PARENT_PID PROGRAM [ARGUMENT…]`. It imports nothing of ours and little of Python's, to be quick.
"""

import ctypes
import os
import sys

SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, Linux only; elsewhere the next start sweeps up


def main(arguments: list[str]) -> None:
    """Ties, checks that the parent did not die meanwhile, and becomes the program."""
    death_signal, parent, *program = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, int(death_signal))
    if os.getppid() != int(parent):
        raise SystemExit("the parent died before its child began")
    os.execvp(program[0], program)  # becoming that program is the point


if __name__ == "__main__":
    main(sys.argv[1:])
