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


WARM_SECONDS = 5
COUNTED_SECONDS = 3
LEAST_ROUNDS = 5


def rounds(build, seconds, least):
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < least:
        began = time.perf_counter()
        build().apply_async().get(timeout=60)
        times.append((time.perf_counter() - began) * 1000)
    return times


times = {}
for name, build in CASES.items():
    rounds(build, WARM_SECONDS, 1)
    times[name] = rounds(build, COUNTED_SECONDS, LEAST_ROUNDS)
print(json.dumps(times))
