"""Calls a task of a Lovage worker: lovage -A ./tasks worker"""

import os

from celery import Celery

app = Celery("shop", broker=os.environ["BROKER"], backend=os.environ["BROKER"])

print("from TypeScript:", app.send_task("pricing.price", args=[10]).get(timeout=20))
print("from TypeScript, with keyword arguments:", app.send_task("pricing.price", kwargs={"net": 10, "vat": 0.07}).get(timeout=20))
