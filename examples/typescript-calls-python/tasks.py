import os

from celery import Celery

app = Celery("images", broker=os.environ["BROKER"], backend=os.environ["BROKER"])


@app.task(name="images.size")
def size(width, height, scale=1.0):
    return {"width": int(width * scale), "height": int(height * scale)}
