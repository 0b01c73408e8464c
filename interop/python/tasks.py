"""The Python side of the interop tests: an ordinary Celery app.

BROKER, BROKER_OPTIONS, BACKEND, QUEUE and what a result store needs besides come from the environment; nothing is configured for the sake of the other side.
"""

import json
import os
import time

from celery import Celery, chain, chord, group
from celery.exceptions import Ignore, Reject

from values import unwrap

if os.environ["BROKER"].startswith("filesystem:"):
    import whole_files  # noqa: F401

# SQLite gives up when others write for longer than five seconds, and Kombu then loses the message (_put in
# kombu/transport/sqlalchemy/__init__.py).
PATIENT = {"connect_args": {"timeout": 60}}


def patient(url):
    return PATIENT if "+sqlite:" in url else {}


app = Celery("interop", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
app.conf.update(
    accept_content=["json", "yaml", "msgpack"],
    broker_transport_options={**json.loads(os.environ.get("BROKER_OPTIONS", "{}")), **patient(os.environ["BROKER"])},
    database_engine_options=patient(os.environ["BACKEND"]),
    result_extended=os.environ.get("RESULT_EXTENDED") == "1",
    task_default_queue=os.environ.get("QUEUE", "python"),
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    task_acks_late=True,
    worker_prefetch_multiplier=int(os.environ.get("PREFETCH", "4")),
    **json.loads(os.environ.get("PYTHON_SETTINGS", "{}")),
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


# Tasks of the tests of results; the TypeScript side has the same under `ts.`.


@app.task(name="py.give")
def give(value):
    return unwrap(value)


@app.task(name="py.raises")
def raises(kind):
    raise {
        "builtin": lambda: ValueError("no", 7),
        "own": lambda: OutOfInk("empty", 2),
        "nothing": lambda: KeyError(),
        "nested": lambda: ValueError({"a": [1, None]}, ["x", ["y"]]),
        "odd": lambda: ValueError(object()),
    }[kind]()


@app.task(name="py.stages", bind=True, track_started=True)
def stages(self, gate):
    """STARTED until the first file is there, PROGRESS until the second."""
    wait_for(gate + ".1")
    self.update_state(state="PROGRESS", meta={"progress": 0.5})
    wait_for(gate + ".2")
    return "done"


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.02)


@app.task(name="py.later", bind=True)
def later(self):
    raise self.retry(countdown=600, exc=ValueError("not yet", 1))


@app.task(name="py.parent", bind=True)
def parent(self):
    return add.apply_async((1, 2), queue=self.request.delivery_info["routing_key"]).id


@app.task(name="py.stop", bind=True)
def stop(self, kind):
    self.update_state(state="PROGRESS", meta={"progress": 1})
    raise {"ignore": Ignore, "reject": Reject}[kind]("it stops here")
