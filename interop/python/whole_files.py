"""Kombu's filesystem transport for peers that send to a queue that a Python worker reads.

Kombu opens a message's file under its final name and fills it then: a reader that comes between the two takes it empty, and
its worker ends. Files for a Python worker are written under another name here, and moved. The layout is Kombu's. Those for
Lovage are written as Kombu does it.
"""

import os
import uuid

from kombu.transport.filesystem import Channel

put = Channel._put


def put_whole(self, queue, payload, **kwargs):
    if queue != os.environ["QUEUE"]:
        return put(self, queue, payload, **kwargs)
    folder = self.data_folder_out
    beside = os.path.join(folder, f"writing-{uuid.uuid4()}")
    os.mkdir(beside)
    try:
        self.__dict__["data_folder_out"] = beside
        put(self, queue, payload, **kwargs)
        for name in os.listdir(beside):
            os.rename(os.path.join(beside, name), os.path.join(folder, name))
    finally:
        self.__dict__["data_folder_out"] = folder
        os.rmdir(beside)


Channel._put = put_whole
