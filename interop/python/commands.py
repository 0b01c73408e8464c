"""Runs Python's `celery` command again and again: one JSON list of arguments a line on stdin, one JSON answer on stdout.

It is the command itself, without the second that each start of Python takes.
"""

import contextlib
import io
import json
import sys

from celery.bin.celery import celery
from click import ClickException

real = sys.stdout
for line in sys.stdin:
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            celery.main(args=json.loads(line), prog_name="celery", standalone_mode=False)
        except SystemExit as exit:
            code = exit.code or 0
        except ClickException as error:
            code = error.exit_code
            print(error.format_message(), file=err)
        except Exception as error:  # the test shows it
            code = 1
            print(repr(error), file=err)
    real.write(json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}) + "\n")
    real.flush()
