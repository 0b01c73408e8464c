"""When the sun's events come next, by Celery's own `solar`: a line of JSON in, `{"from": [ms ...], "places": [[latitude, longitude] ...]}`,
JSON out, `[event, latitude, longitude, from, instant]` in milliseconds. Where Celery itself fails the instant is null: it
adds a timedelta to what is none when the sun does not rise or set for days.
"""
import json
import sys
from datetime import datetime, timezone

from celery import Celery
from celery.schedules import solar

app = Celery("simulation", broker="memory://", set_as_current=False)
job = json.loads(sys.stdin.readline())
answers = []
for event in sorted(solar._all_events):
    for latitude, longitude in job["places"]:
        for start in job["from"]:
            now = datetime.fromtimestamp(start / 1000, timezone.utc)
            schedule = solar(event, latitude, longitude, app=app, nowfun=lambda: now)
            try:
                instant = start + schedule.remaining_estimate(now).total_seconds() * 1000
            except TypeError:
                instant = None
            answers.append([event, latitude, longitude, start, instant])
print(json.dumps(answers), flush=True)
