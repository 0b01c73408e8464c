"""Builds and sends the shapes of the canvas tests. One JSON command a line on stdin, one JSON answer a line on stdout."""

import json
import re
import sys
import time

from celery import chain, chord, chunks, group
from celery.canvas import xmap, xstarmap
from celery.exceptions import ChordError  # noqa: F401  known here, so that it is read as what it is
from celery.result import GroupResult

from tasks import app

results = {}


def build(spec):
    """The same language as in shapes.ts; a task's name and queue are chosen by the test."""
    if "chain" in spec:
        sig = chain(*[build(part) for part in spec["chain"]])
    elif "group" in spec:
        sig = group([build(part) for part in spec["group"]])
    elif "chord" in spec:
        sig = chord([build(part) for part in spec["chord"]], build(spec["body"]))
    elif "map" in spec:
        kind = {"map": xmap, "starmap": xstarmap}[spec["map"]]
        sig = kind(app.signature(spec["task"]), spec["it"], app=app)
    elif "chunks" in spec:
        sig = chunks(app.signature(spec["task"]), spec["it"], spec["chunks"], app=app)
    else:
        sig = app.signature(spec["task"], args=spec.get("args", []), immutable=spec.get("immutable", False))
    if "options" in spec:
        sig.set(**spec["options"])
    for callback in spec.get("link", []):
        sig.link(build(callback))
    for errback in spec.get("errback", []):
        sig.link_error(build(errback))
    return sig


def send(command):
    for key, spec in command["shapes"].items():
        results[key] = build(spec).apply_async()
    return {}


def members(result):
    return [m for r in result.results for m in members(r)] if isinstance(result, GroupResult) else [result]


def value(result):
    return [value(r) for r in result.results] if isinstance(result, GroupResult) else result.result


def culprit(result):
    """The failure of something before the result, which get() would raise."""
    line = [result]
    while line[0].parent is not None:
        line.insert(0, line[0].parent)
    for node in line[:-1]:
        for member in members(node):
            if member.state in ("FAILURE", "REVOKED"):
                return member.result
    return None


def failure(error):
    return {"error": type(error).__name__, "message": re.sub(r"[0-9a-f-]{36}", "ID", str(error))}


def outcome(result):
    """How the result itself ended; None: it has not."""
    for member in members(result):
        if member.state in ("FAILURE", "REVOKED"):
            return failure(member.result)
    if all(member.state == "SUCCESS" for member in members(result)):
        return {"value": value(result)}
    return None


def outcomes(command):
    """How each ended by itself; of what does not, once nothing has ended for a while, the failure that get() would raise.

    What waits for a failed task may still be told. Celery leaves some of it waiting for ever.
    """
    waiting = dict(results)
    found = {}
    last = None
    end = time.monotonic() + command["timeout"]
    while waiting and time.monotonic() < end:
        is_quiet = last is not None and time.monotonic() - last > command["quiet"]
        for key in list(waiting):
            answer = outcome(waiting[key])
            if answer is not None:
                last = time.monotonic()
            elif is_quiet and (error := culprit(waiting[key])) is not None:
                answer = failure(error)
            if answer is not None:
                found[key] = answer
                del waiting[key]
        time.sleep(0.05)
    return {**found, **{key: {"error": "never ended", "message": ""} for key in waiting}}


for line in sys.stdin:
    command = json.loads(line)
    try:
        answer = {"send": send, "outcomes": outcomes}[command["do"]](command)
    except Exception as error:  # the test shows it
        answer = {"failure": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
