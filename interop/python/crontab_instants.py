"""When Celery's own beat would fire: one line of JSON in, `{"zone", "from", "to", "fields"}`, one line out, the instants.

Beat is simulated: it looks at an entry when its schedule told it to, and fires when `is_due` says so.
"""
import json
import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from celery import Celery
from celery.schedules import crontab


def instants(zone: str, start: int, end: int, fields: dict) -> list[int]:
    app = Celery("simulation", broker="memory://", set_as_current=False)
    app.conf.timezone = zone
    tz = ZoneInfo(zone)
    now = datetime.fromtimestamp(start, timezone.utc)
    schedule = crontab(app=app, nowfun=lambda: now.astimezone(tz), **fields)
    last_run_at = now.astimezone(tz)
    fired = []
    limit = datetime.fromtimestamp(end, timezone.utc)
    while now < limit:
        is_due, seconds = schedule.is_due(last_run_at)
        if is_due:
            fired.append(int(now.timestamp()))
            last_run_at = now.astimezone(tz)
            if seconds <= 0:
                continue
        # Beat looks at whole minutes here: nothing of a crontab is due between them.
        target = now + timedelta(seconds=seconds)
        floor = target.replace(second=0, microsecond=0)
        now = floor if floor >= target else floor + timedelta(minutes=1)
    return fired


for line in sys.stdin:
    job = json.loads(line)
    print(json.dumps(instants(job["zone"], job["from"], job["to"], job["fields"])), flush=True)
