"""A Celery app under opentelemetry-instrumentation-celery. `send TASK QUEUE` sends one task and prints its id."""

import json
import os
import sys

from celery import Celery
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult


class FileExporter(SpanExporter):
    """One line of JSON for each span, in a file that several processes append to."""

    def export(self, spans):
        with open(os.environ["SPANS"], "a", encoding="utf-8") as file:
            for span in spans:
                context = span.get_span_context()
                line = {
                    "name": span.name,
                    "kind": span.kind.name,
                    "traceId": format(context.trace_id, "032x"),
                    "spanId": format(context.span_id, "016x"),
                    "parentId": format(span.parent.span_id, "016x") if span.parent else None,
                    "attributes": dict(span.attributes),
                }
                file.write(json.dumps(line) + "\n")
        return SpanExportResult.SUCCESS


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(FileExporter()))
trace.set_tracer_provider(provider)
CeleryInstrumentor().instrument()

app = Celery("traces", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
app.conf.update(task_default_queue=os.environ["QUEUE"], broker_connection_retry_on_startup=True)


@app.task(name="py.echo")
def echo(value):
    return value


@app.task(name="py.forward")
def forward(value, queue):
    app.send_task("ts.echo", args=[value], queue=queue)


if __name__ == "__main__":
    _, _, task, queue, *args = sys.argv
    print(app.send_task(task, args=args, queue=queue).id)
