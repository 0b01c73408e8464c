"""moto's DynamoDB on a port of 127.0.0.1. Its own server runs requests side by side, and looks at a condition in one step and
writes in the next; here they come one after the other, so that conditions hold as they do at Amazon's."""
import sys
from threading import Lock

from moto.server import create_backend_app
from werkzeug.serving import WSGIRequestHandler, run_simple


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *args):
        pass


app = create_backend_app("dynamodb")
lock = Lock()


def one_by_one(environ, start_response):
    with lock:
        answer = app(environ, start_response)
        try:
            return list(answer)
        finally:
            answer.close()


run_simple("127.0.0.1", int(sys.argv[1]), one_by_one, threaded=True, request_handler=Quiet)
