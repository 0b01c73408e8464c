"""The Python side of the remote control tests: an ordinary Celery app with the tasks of ../control/tasks.ts."""

import os
import time

from celery import Celery

app = Celery("control", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
app.conf.update(
    task_default_queue=os.environ.get("QUEUE", "python"),
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    task_track_started=True,
    task_acks_late=True,
)


@app.task(name="jobs.add")
def add(x, y):
    return x + y


@app.task(name="jobs.fail")
def fail(text):
    raise ValueError(text)


@app.task(name="jobs.retry", bind=True, max_retries=2)
def retry(self):
    if self.request.retries == 0:
        raise self.retry(countdown=0.1, exc=ValueError("not yet"))
    return "done"


@app.task(name="jobs.sleep")
def sleep(seconds):
    time.sleep(seconds)
    return seconds
