"""`python -m meltemi`: the command, for processes that start one another."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored (nohup)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while modules are loaded: no traceback

from meltemi.cli import main

main()
