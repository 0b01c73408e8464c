"""A Python client under remote control: one JSON command a line on stdin, one JSON answer a line on stdout."""

import base64
import datetime
import decimal
import json
import sys
import uuid

from celery import chain, signature
from celery.exceptions import TimeoutError
from celery.result import AsyncResult

from tasks import app

results = {}


def unwrap(value):
    """Values that JSON has not, as the test writes them: {"$": kind, "v": text}."""
    if isinstance(value, list):
        return [unwrap(item) for item in value]
    if isinstance(value, dict):
        if set(value) == {"$", "v"}:
            return {
                "datetime": datetime.datetime.fromisoformat,
                "date": datetime.date.fromisoformat,
                "decimal": decimal.Decimal,
                "uuid": uuid.UUID,
                "bytes": base64.b64decode,
                "float": float,
                "int": int,
            }[value["$"]](value["v"])
        return {key: unwrap(item) for key, item in value.items()}
    return value


def wrap(value):
    if isinstance(value, (list, tuple)):
        return [wrap(item) for item in value]
    if isinstance(value, dict):
        return {str(key): wrap(item) for key, item in value.items()}
    if isinstance(value, datetime.datetime):
        return {"$": "datetime", "v": value.isoformat()}
    if isinstance(value, datetime.date):
        return {"$": "date", "v": value.isoformat()}
    if isinstance(value, decimal.Decimal):
        return {"$": "decimal", "v": str(value)}
    if isinstance(value, uuid.UUID):
        return {"$": "uuid", "v": str(value)}
    if isinstance(value, bytes):
        return {"$": "bytes", "v": base64.b64encode(value).decode()}
    if isinstance(value, float) and value != value:
        return {"$": "float", "v": "nan"}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        return {"$": "int", "v": str(value)}
    if isinstance(value, BaseException):
        return {"exception": type(value).__name__, "module": type(value).__module__, "args": wrap(value.args)}
    return value


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
        value = result.get(timeout=command.get("timeout", 20), propagate=False)
    except TimeoutError:
        return {"timeout": True, "state": result.state}
    return {"state": result.state, "result": wrap(value), "traceback": result.traceback, "meta": wrap(result._get_task_meta())}


def peek(command):
    result = AsyncResult(command["id"], app=app)
    return {"state": result.state, "result": wrap(result.result)}


commands = {"send": send, "get": get, "peek": peek}
for line in sys.stdin:
    command = json.loads(line)
    try:
        answer = commands[command["do"]](command)
    except Exception as error:  # the test shows it
        answer = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(answer, default=repr) + "\n")
    sys.stdout.flush()
