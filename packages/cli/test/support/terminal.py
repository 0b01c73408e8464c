"""Runs a command on a real terminal: python3 terminal.py COLUMNS ROWS COMMAND...

Its input and output are one pseudo-terminal, its errors another, so that a test can tell them apart. What comes in here
is typed, signals are passed on, and the exit code is the command's (128 + n after signal n).
"""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios

columns, rows, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
size = struct.pack("HHHH", rows, columns, 0, 0)
errors, errors_inside = os.openpty()
child, screen = pty.fork()
if child == 0:
    for end in (0, errors_inside):
        fcntl.ioctl(end, termios.TIOCSWINSZ, size)
    os.dup2(errors_inside, 2)
    os.close(errors_inside)
    os.close(errors)
    os.execvp(command[0], command)
os.close(errors_inside)

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
    signal.signal(number, lambda got, _: os.kill(child, got))

copies = {screen: 1, errors: 2, 0: screen}
while screen in copies or errors in copies:
    for end in select.select(list(copies), [], [])[0]:
        try:
            data = os.read(end, 65536)
        except OSError:  # EIO: nobody holds the other side any more
            data = b""
        if not data:
            del copies[end]
        while data:
            data = data[os.write(copies[end], data) :]
_, status = os.waitpid(child, 0)
code = os.waitstatus_to_exitcode(status)
sys.exit(code if code >= 0 else 128 - code)
