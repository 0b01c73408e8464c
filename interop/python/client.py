"""A Python client under remote control: one JSON command a line on stdin, one JSON answer a line on stdout."""

import contextlib
import json
import sys

from celery import chain, signature
from celery.exceptions import TimeoutError
from celery.result import AsyncResult, GroupResult

from tasks import app
from values import unwrap, wrap

results = {}

# Celery 5.6 takes the end of each second of waiting for the loss of its connection to RabbitMQ, and loses the replies that
# come while it makes another (celery/backends/asynchronous.py, reconnect_on_error: a timeout of a socket is an OSError).
if app.conf.result_backend == "rpc://":
    app.backend.result_consumer.reconnect_on_error = contextlib.nullcontext


def sig(spec):
    s = signature(spec["task"], args=unwrap(spec.get("args", [])), kwargs=unwrap(spec.get("kwargs", {})), app=app)
    if spec.get("immutable"):
        s.immutable = True
    return s.set(**spec.get("options", {}))


def send(command):
    options = dict(command.get("options", {}))
    for key in ("link", "link_error"):
        if key in options:
            options[key] = sig(options[key])
    for key in ("eta", "expires"):
        if isinstance(options.get(key), dict):
            options[key] = unwrap(options[key])
    if "then" in command:
        first = sig({"task": command["task"], "args": command.get("args", []), "kwargs": command.get("kwargs", {}), "options": options})
        result = chain(first, *[sig(item) for item in command["then"]]).apply_async()
    else:
        result = app.send_task(command["task"], args=unwrap(command.get("args", [])), kwargs=unwrap(command.get("kwargs", {})), **options)
    results[result.id] = result
    return {"id": result.id}


def get(command):
    result = results.get(command["id"]) or AsyncResult(command["id"], app=app)
    try:
        value = result.get(timeout=command["timeout"], propagate=False, interval=0.05)
    except TimeoutError:
        return {"timeout": True, "state": result.state}
    return {
        "state": result.state,
        "result": wrap(value),
        "traceback": result.traceback,
        "meta": wrap(result._get_task_meta()),
        "children": [child.id for child in result.children or []],
        "dateDone": result.date_done and result.date_done.isoformat(),
    }


def peek(command):
    result = AsyncResult(command["id"], app=app)
    return {"state": result.state, "result": wrap(result.result)}


def forget(command):
    AsyncResult(command["id"], app=app).forget()
    return {}


def members(ids):
    """A list of ids, in which a list is a group: its own id and its members."""
    return [AsyncResult(id, app=app) if isinstance(id, str) else GroupResult(id[0], members(id[1:]), app=app) for id in ids]


def ids_of(results):
    return [[r.id, *ids_of(r.results)] if isinstance(r, GroupResult) else r.id for r in results]


def save_group(command):
    GroupResult(command["id"], members(command["members"]), app=app).save()
    return {}


def restore_group(command):
    group = GroupResult.restore(command["id"], app=app)
    if group is None:
        return {"members": None}
    # MongoDB's store restores a list.
    if not isinstance(group, GroupResult):
        group = GroupResult(command["id"], group, app=app)
    return {"members": ids_of(group.results), "values": wrap(group.join(timeout=60))}


commands = {
    "send": send,
    "get": get,
    "peek": peek,
    "forget": forget,
    "save_group": save_group,
    "restore_group": restore_group,
}
for line in sys.stdin:
    command = json.loads(line)
    try:
        answer = commands[command["do"]](command)
    except Exception as error:  # the test shows it
        answer = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(answer, default=repr) + "\n")
    sys.stdout.flush()
