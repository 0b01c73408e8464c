"""`enqueue N` or `roundtrip N` with Celery; prints one JSON object."""

import json
import sys
import time

from tasks import noop

what, count = sys.argv[1], int(sys.argv[2])
for _ in range(20):
    noop.delay(1)
if what == "enqueue":
    began = time.perf_counter()
    for index in range(count):
        noop.delay(index)
    print(json.dumps({"perSecond": count / (time.perf_counter() - began)}))
else:
    noop.delay(0).get(timeout=20)
    times = []
    for index in range(count):
        began = time.perf_counter()
        noop.delay(index).get(timeout=20)
        times.append((time.perf_counter() - began) * 1000)
    print(json.dumps({"times": times}))
