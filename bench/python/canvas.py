"""Times workflows with Celery: a chord of 100, a chain of 100 and a group of 1,000 no-op tasks, results waited for."""

import json
import time

from celery import chain, chord, group

from tasks import noop

CASES = {
    "chord": lambda: chord([noop.s(n) for n in range(100)], noop.s()),
    "chain": lambda: chain(*[noop.s(n) for n in range(100)]),
    "group": lambda: group([noop.s(n) for n in range(1000)]),
}


def run(build):
    began = time.perf_counter()
    build().apply_async().get(timeout=60)
    return (time.perf_counter() - began) * 1000


print(json.dumps({name: [run(build) for _ in range(7)][2:] for name, build in CASES.items()}))
