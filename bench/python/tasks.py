"""Celery, as its own documentation sets it up, with one no-op task."""

import hashlib
import os

from celery import Celery

app = Celery("bench", broker=os.environ["BROKER"], backend=os.environ.get("BACKEND") or None)
app.conf.update(
    task_default_queue=os.environ["QUEUE"],
    task_ignore_result=not os.environ.get("BACKEND"),
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"confirm_publish": True} if os.environ.get("CONFIRM") else {},
)

_runs = None


@app.task(name="bench.noop")
def noop(*args):
    global _runs
    if "RUNS" in os.environ:
        if _runs is None:
            _runs = os.open(os.environ["RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(_runs, b".")


@app.task(name="bench.cpu")
def cpu(*args):
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", int(os.environ["ITERATIONS"]), 32)
    noop()
