"""When Celery's own beat would fire: one line of JSON in, `{"zone", "from", "to", "fields"}`, one line out, the instants
in minutes.

Beat is simulated: it looks at an entry when its schedule told it to, and fires when `is_due` says so.
"""
import json
import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from celery import Celery
from celery.schedules import crontab


class Crontab(crontab):
    """Celery's own, which looks these two up at each question."""

    tz = None
    utc_enabled = True


def instants(zone: str, start: int, end: int, fields: dict) -> list[int]:
    app = Celery("simulation", broker="memory://", set_as_current=False)
    app.conf.timezone = zone
    tz = ZoneInfo(zone)
    now = datetime.fromtimestamp(start, timezone.utc)
    local = now.astimezone(tz)
    schedule = Crontab(app=app, nowfun=lambda: local, **fields)
    schedule.tz = tz
    last_run_at = local
    fired = []
    limit = datetime.fromtimestamp(end, timezone.utc)
    while now < limit:
        is_due, seconds = schedule.is_due(last_run_at)
        if is_due:
            fired.append(int(now.timestamp()) // 60)
            last_run_at = local
            if seconds <= 0:
                continue
        # Beat looks at whole minutes here: nothing of a crontab is due between them.
        target = now + timedelta(seconds=seconds)
        floor = target.replace(second=0, microsecond=0)
        now = floor if floor >= target else floor + timedelta(minutes=1)
        local = now.astimezone(tz)
    return fired


for line in sys.stdin:
    job = json.loads(line)
    print(json.dumps(instants(job["zone"], job["from"], job["to"], job["fields"])), flush=True)
