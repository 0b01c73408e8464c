"""Prints what Python's canvas sends for each shape, as JSON: the golden file of packages/core/src/canvas.

    python interop/python/capture_canvas.py > packages/core/src/canvas/golden/celery-5.6.3.test.json

Nothing is connected: what would be published and what the result store would be told is written down instead.
Ids become `#1`, `#2` ... in the order in which they are met, and nulls are left out of options.
"""

import json
import re

import celery
from celery import Celery, chain, chord, group
from celery.backends.redis import RedisBackend
from kombu.utils.json import dumps

app = Celery("golden", broker="memory://", backend="redis://")
sent = []


def capture(_producer, name, message, **options):
    sent.append({"task": name, "headers": message.headers, "body": message.body, "priority": options.get("priority")})


app.amqp.__dict__["send_task_message"] = capture
RedisBackend.set_chord_size = lambda self, gid, size: sent.append({"chord_size": [gid, size]})
RedisBackend._save_group = lambda self, gid, result: sent.append({"save_group": [gid, result.as_tuple()]})
RedisBackend.on_task_call = lambda self, producer, task_id: {}
RedisBackend.add_pending_result = lambda self, result, weak=False: result


def nothing(*args, **kwargs):
    pass


def task(name):
    return app.task(name=name)(nothing)


a, b, c, d, e = (task(name) for name in "abcde")

SHAPES = {
    "task": lambda: a.s(1, 2),
    "task with options": lambda: a.s(1).set(queue="q", priority=3, countdown=0),
    "task with link and errback": lambda: a.s(1).link(b.s()) and None,
    "chain of two": lambda: chain(a.s(1), b.s(2)),
    "chain of three": lambda: chain(a.s(1), b.s(2), c.si(3)),
    "chain piped": lambda: a.s(1) | b.s() | c.s(),
    "chain in chain": lambda: chain(a.s(1), chain(b.s(), c.s()), d.s()),
    "chain with link and errback": lambda: linked(chain(a.s(1), b.s())),
    "group": lambda: group(a.s(1), b.s(2)),
    "group in group": lambda: group(a.s(1), group(b.s(2), c.s(3)), d.s(4)),
    "group with link and errback": lambda: linked(group(a.s(1), b.s(2))),
    "chain in group": lambda: group(chain(a.s(1), b.s()), c.s(2)),
    "chain ends in group": lambda: chain(a.s(1), group(b.s(), c.s())),
    "chord": lambda: chord([a.s(1), b.s(2)], c.s()),
    "chord with options": lambda: chord([a.s(1), b.s(2)], c.s().set(queue="q")),
    "chord with link and errback": lambda: linked(chord([a.s(1), b.s(2)], c.s())),
    "chord of a group": lambda: chord(group(a.s(1), b.s(2)), c.s()),
    "chord without header": lambda: chord([], c.s()),
    "chord with nested group": lambda: chord([a.s(1), group(b.s(2), c.s(3)), chain(d.s(4), e.s())], e.s()),
    "chord in chord header": lambda: chord([chord([a.s(1), b.s(2)], c.s()), d.s(3)], e.s()),
    "chord body is a chain": lambda: chord([a.s(1), b.s(2)], chain(c.s(), d.s())),
    "chord body is a group": lambda: chord([a.s(1), b.s(2)], group(c.s(), d.s())),
    "chord body is a chord": lambda: chord([a.s(1), b.s(2)], chord([c.s(), d.s()], e.s())),
    "chord header has a chain that ends in a group": lambda: chord([chain(a.s(1), group(b.s(), c.s()))], e.s()),
    "group piped becomes a chord": lambda: group(a.s(1), b.s(2)) | c.s(),
    "group in the middle of a chain": lambda: chain(a.s(1), group(b.s(), c.s()), d.s()),
    "two groups in a chain": lambda: chain(a.s(1), group(b.s(), c.s()), group(d.s(), e.s()), a.s()),
    "group starts a chain": lambda: chain(group(a.s(1), b.s(2)), c.s(), d.s()),
    "chord piped": lambda: chord([a.s(1), b.s(2)], c.s()) | d.s(),
    "chord piped to a group": lambda: chord([a.s(1), b.s(2)], c.s()) | group(d.s(), e.s()),
    "chord ends a chain": lambda: chain(a.s(1), chord([b.s(), c.s()], d.s())),
    "chord in the middle of a chain": lambda: chain(a.s(1), chord([b.s(), c.s()], d.s()), e.s()),
    "two chords in a chain": lambda: chain(chord([a.s(1), b.s(2)], c.s()), chord([d.s(), e.s()], a.s())),
    "three levels": lambda: chain(
        a.s(1), group(chain(b.s(), c.s()), chord([d.s(), e.s()], a.s()), b.s()), c.s(), chord([d.s(), a.s()], e.s())
    ),
    "map": lambda: a.map([1, 2, 3]),
    "starmap": lambda: a.starmap([(1, 2), (3, 4)]),
    "chunks": lambda: a.chunks([(1, 2), (3, 4), (5, 6)], 2),
    "map in a chord": lambda: chord([a.map([1, 2]), b.s(1)], c.s()),
    "stamped task": lambda: stamped(a.s(1)),
    "stamped chain": lambda: stamped(chain(a.s(1), b.s())),
    "stamped group": lambda: stamped(group(a.s(1), b.s(2))),
    "stamped chord": lambda: stamped(chord([a.s(1), b.s(2)], c.s())),
    "stamped links": lambda: stamped(linked(a.s(1))),
}


def linked(sig):
    sig.link(d.si())
    sig.link_error(e.s())
    return sig


def stamped(sig):
    sig.stamp(tenant="x", tries=1)
    return sig


# Not for the wire; `immutable` gets among the options by a slip of group.link_error.
NOISE = ("reply_to", "add_to_parent", "immutable")


def tidy(value):
    """As JSON has it, without what is null or empty by default in options."""
    if isinstance(value, list):
        return [tidy(item) for item in value]
    if isinstance(value, dict):
        value = {key: tidy(item) for key, item in value.items()}
        if "subtask_type" in value and "options" in value:
            options = {k: v for k, v in value["options"].items() if v is not None and k not in NOISE}
            value["options"] = {k: sorted(v) if k == "stamped_headers" else v for k, v in options.items()}
        return value
    return value


HEADERS = (
    "task", "id", "group", "group_index", "root_id", "parent_id", "retries", "ignore_result", "stamped_headers", "stamps",
    "replaced_task_nesting",
)


def message(entry):
    if "headers" not in entry:
        return entry
    headers = {key: entry["headers"][key] for key in HEADERS if entry["headers"].get(key) is not None}
    if "stamped_headers" in headers:
        headers["stamped_headers"] = sorted(headers["stamped_headers"])
    args, kwargs, embed = entry["body"]
    return {"headers": headers, "args": args, "kwargs": kwargs, "embed": {k: v for k, v in embed.items() if v}}


UUID = re.compile(r'"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"')

golden = {}
for name, build in SHAPES.items():
    sent.clear()
    signature = build()
    if signature is None:
        signature = linked(a.s(1))
    plain = tidy(json.loads(dumps(signature)))
    result = signature.apply_async()
    text = json.dumps(
        {
            "signature": plain,
            "sent": tidy(json.loads(dumps([message(entry) for entry in sent]))),
            "result": json.loads(dumps(result.as_tuple())),
        }
    )
    ids = {}
    text = UUID.sub(lambda match: '"#%d"' % ids.setdefault(match[1], len(ids) + 1), text)
    golden[name] = json.loads(text)

print(json.dumps({"celery": celery.__version__, "shapes": golden}, indent=1))
