"""The app of the remote control tests as Flower gets it.

Flower waits a second for the answer of the one worker that it asks; on a loaded machine the answer comes later.
"""

from celery.app.control import Control

from control_tasks import app


class PatientControl(Control):
    def broadcast(self, command, arguments=None, destination=None, **options):
        if destination:
            options["timeout"] = 60
        return super().broadcast(command, arguments, destination, **options)


app.control_cls = PatientControl
