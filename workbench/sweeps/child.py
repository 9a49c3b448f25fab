"""A worker process: takes pickled calls from its standard input and gives what they return, one at a time.

What the calls print goes to standard error. The process and all that it started end when its input is closed.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import threading
from typing import Any, BinaryIO

HEAD = 8
"""Bytes that hold the length of a message."""


def write(pipe: BinaryIO, message: bytes) -> None:
    """Send a message in one piece."""
    pipe.write(len(message).to_bytes(HEAD, "big") + message)
    pipe.flush()


def read(pipe: BinaryIO) -> bytes:
    """The next message; EOFError where the other end is gone, or this end was closed by another thread."""
    try:
        head = pipe.read(HEAD)
        message = pipe.read(int.from_bytes(head, "big")) if len(head) == HEAD else b""
    except ValueError:
        raise EOFError from None
    if len(head) < HEAD or len(message) < int.from_bytes(head, "big"):
        raise EOFError
    return message


def main() -> None:
    """Work until the input ends."""
    import cloudpickle

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the sweep's to answer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    calls: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(os.fdopen(os.dup(0), "rb"), calls), daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    write(answers, b"")
    while True:
        function, arguments = pickle.loads(calls.get())
        answer: Any
        try:
            answer = function(*arguments)
        except BaseException as error:
            answer = error
        write(answers, cloudpickle.dumps(answer))


def _listen(pipe: BinaryIO, calls: queue.SimpleQueue[bytes]) -> None:
    try:
        while True:
            calls.put(read(pipe))
    finally:
        if os.name == "posix":
            os.killpg(0, signal.SIGKILL)  # this process leads a group of its own: a kernel that it started ends, too
        os._exit(1)
