"""The Python side of the interop tests: an ordinary Celery app.

BROKER, BROKER_OPTIONS, BACKEND and QUEUE come from the environment; nothing is configured for the sake of the other side.
"""

import json
import os
import time

from celery import Celery, chain, chord, group

app = Celery("interop", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
app.conf.update(
    accept_content=["json", "yaml", "msgpack"],
    broker_transport_options=json.loads(os.environ.get("BROKER_OPTIONS", "{}")),
    result_extended=os.environ.get("RESULT_EXTENDED") == "1",
    task_default_queue=os.environ.get("QUEUE", "python"),
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    task_acks_late=True,
    worker_prefetch_multiplier=int(os.environ.get("PREFETCH", "4")),
)


class OutOfInk(Exception):
    """A class that the other side does not know."""


@app.task(name="py.echo")
def echo(*args, **kwargs):
    return {"args": list(args), "kwargs": kwargs}


@app.task(name="py.plus")
def plus(x, y):
    return x + y


@app.task(name="py.add")
def add(x, y):
    return x + y


@app.task(name="py.fail")
def fail(kind, *args):
    raise {"ValueError": ValueError, "KeyError": KeyError, "OutOfInk": OutOfInk}[kind](*args)


@app.task(name="py.retry_until", bind=True, max_retries=5)
def retry_until(self, attempts):
    if self.request.retries < attempts:
        raise self.retry(countdown=0.1, exc=ValueError("not yet"))
    return self.request.retries


@app.task(name="py.request", bind=True)
def request(self):
    r = self.request
    return {
        "id": r.id,
        "root_id": r.root_id,
        "parent_id": r.parent_id,
        "correlation_id": r.correlation_id,
        "priority": (r.delivery_info or {}).get("priority"),
        "headers": {k: v for k, v in (r.headers or {}).items()},
        "timelimit": list(r.timelimit or []),
        "retries": r.retries,
        "expires": r.expires is not None,
        "eta": r.eta is not None,
    }


@app.task(name="py.progress", bind=True)
def progress(self):
    self.update_state(state="PROGRESS", meta={"progress": 0.5})
    time.sleep(2)  # long enough for the other side to see the state
    return "done"


@app.task(name="py.errback")
def errback(task_id):
    return f"errback of {task_id}"


# Tasks of the canvas tests; the TypeScript side has the same under `ts.`.


@app.task(name="py.sum")
def xsum(numbers):
    return sum(numbers)


@app.task(name="py.same")
def same(*values):
    return values[0] if len(values) == 1 else list(values)


@app.task(name="py.refuse")
def refuse(*args):
    raise ValueError("no")


@app.task(name="py.note")
def note(task_id):
    return "noted"


@app.task(name="py.third_time", bind=True, max_retries=5)
def third_time(self, value):
    if self.request.retries < 2:
        raise self.retry(countdown=0.05)
    return value


@app.task(name="py.replace", bind=True)
def replace(self, value, kind):
    steps = {
        "task": lambda: add.s(value, 1),
        "chain": lambda: chain(add.s(value, 1), add.s(10)),
        "group": lambda: group(add.s(value, 1), add.s(value, 2)),
        "chord": lambda: chord([add.s(value, 1), add.s(value, 2)], xsum.s()),
    }
    raise self.replace(steps[kind]())
