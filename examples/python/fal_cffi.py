"""libfal for Python, through cffi: run, subscribe, stream.

Wants fal_cdef.h beside this file (../cdef.sh /usr/include/fal.h >fal_cdef.h), or where FAL_CDEF says, and the shared
library where the system finds it, or where FAL_LIBRARY says.

    with Fal() as fal:                       # credentials: $FAL_KEY
        print(fal.run("fal-ai/any-llm", {"prompt": "Why?"})["output"])
        for event in fal.stream("fal-ai/any-llm", {"prompt": "Why?"}):
            print(event["output"])
"""

import json
import os
from collections import deque
from dataclasses import dataclass

from cffi import FFI

ffi = FFI()
with open(os.environ.get("FAL_CDEF") or os.path.join(os.path.dirname(__file__), "fal_cdef.h")) as _header:
    ffi.cdef(_header.read())
lib = ffi.dlopen(os.environ.get("FAL_LIBRARY") or "libfal.so.0")


def _text(pointer):
    return None if pointer == ffi.NULL else ffi.string(pointer).decode()


class FalError(Exception):
    """What went wrong: code, http_status, error_type, message, request_id, retryable, retry_after_s, body."""

    def __init__(self, code, result=ffi.NULL):
        e = lib.fal_result_error(result)
        self.code = code
        self.http_status = e.http_status
        self.error_type = _text(e.error_type)
        self.message = _text(e.message) if result != ffi.NULL else _text(lib.fal_strerror(code))
        self.request_id = _text(e.request_id)
        self.retryable = bool(e.retryable)
        self.retry_after_s = e.retry_after_s if e.retry_after_s >= 0 else None
        self.body = _text(lib.fal_result_json(result)) if result != ffi.NULL else None
        super().__init__(self.message)


@dataclass
class Status:
    state: str
    queue_position: int  # -1: the server did not say
    new_logs: list  # messages that were not in the update before

    @classmethod
    def read(cls, s):
        logs = [_text(s.logs[i].message) for i in range(s.first_new_log, s.log_count)]
        return cls(("IN_QUEUE", "IN_PROGRESS", "COMPLETED")[s.state], s.queue_position, logs)


class _Call:
    """One call under way. What a callback raises cancels the call and is raised where the call was made."""

    def __init__(self, client):
        self.client, self.over, self.raised = client, False, None
        self.handle = ffi.new("fal_call **")
        self.kept = []  # what C holds pointers to while the call runs
        self.done = ffi.new("struct fal_done *", {"done": self.callback("void(enum fal_code, fal_result *, void *)", self.end)})

    def callback(self, signature, function):
        kept = ffi.callback(signature, function, onerror=self.failed)
        self.kept.append(kept)
        return kept

    def failed(self, _type, exception, _traceback):
        self.raised = exception
        lib.fal_call_cancel(self.handle[0])

    def end(self, code, result, _user):
        self.over, self.code = True, code
        self.result = ffi.gc(result, lib.fal_result_free)

    def options(self, kind, **fields):
        o = ffi.new(f"struct fal_{kind}_options *", {"size": ffi.sizeof(f"struct fal_{kind}_options")})
        for name, value in fields.items():
            if value is not None:
                setattr(o, name, value)
        self.kept.append(o)
        return o

    def started(self, code):
        self.over = code != lib.FAL_OK  # then `done` is not called
        if self.over:
            raise FalError(code)

    def turn(self):
        # Not for ever, so that Python sees its signals.
        lib.fal_client_wait(self.client, 200)

    def cancel(self):
        lib.fal_call_cancel(self.handle[0])
        while not self.over:
            self.turn()

    def output(self):
        try:
            while not self.over:
                self.turn()
        except BaseException:
            self.cancel()
            raise
        finally:
            lib.fal_call_free(self.handle[0])
        if self.raised is not None:
            raise self.raised
        if self.code != lib.FAL_OK:
            raise FalError(self.code, self.result)
        return json.loads(_text(lib.fal_result_json(self.result)))


class Fal:
    """One client; for one thread at a time."""

    def __init__(self, credentials=None, base_url=None):
        keep = [None if text is None else ffi.new("char[]", text.encode()) for text in (credentials, base_url)]
        o = ffi.new("struct fal_options *", {"size": ffi.sizeof("struct fal_options")})
        o.credentials, o.base_url = [ffi.NULL if text is None else text for text in keep]
        client = ffi.new("fal_client **")
        code = lib.fal_client_new(o, client)
        if code != lib.FAL_OK:
            raise FalError(code)
        self.client = client[0]

    def close(self):
        if self.client is not None:
            lib.fal_client_free(self.client)
            self.client = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def run(self, endpoint, input, timeout_s=0):
        call = _Call(self.client)
        o = call.options("call", timeout_ms=int(timeout_s * 1000))
        call.started(lib.fal_run_start(self.client, endpoint.encode(), json.dumps(input).encode(), o, call.done[0], call.handle))
        return call.output()

    def subscribe(self, endpoint, input, on_enqueue=None, on_queue_update=None, logs=False, timeout_s=0):
        """on_enqueue(request_id), on_queue_update(Status)."""
        call = _Call(self.client)
        enqueued = on_enqueue and call.callback("void(const char *, void *)", lambda id, _: on_enqueue(_text(id)))
        updated = on_queue_update and call.callback("void(const struct fal_status *, void *)",
                                                    lambda s, _: on_queue_update(Status.read(s)))
        o = call.options("subscribe", timeout_ms=int(timeout_s * 1000), logs=logs, on_enqueue=enqueued or None,
                         on_queue_update=updated or None)
        call.started(lib.fal_subscribe_start(self.client, endpoint.encode(), json.dumps(input).encode(), o, call.done[0], call.handle))
        return call.output()

    def stream(self, endpoint, input, timeout_s=0):
        """The events as they come. Leaving the loop early ends the stream on the server, too."""
        events, call = deque(), _Call(self.client)
        take = call.callback("void(const char *, void *)", lambda event, _: events.append(json.loads(_text(event))))
        o = call.options("stream", timeout_ms=int(timeout_s * 1000), on_event=take)
        call.started(lib.fal_stream_start(self.client, endpoint.encode(), json.dumps(input).encode(), o, call.done[0], call.handle))
        try:
            while events or not call.over:
                if events:
                    yield events.popleft()
                else:
                    call.turn()
        except BaseException:
            call.cancel()
            lib.fal_call_free(call.handle[0])
            raise
        call.output()
