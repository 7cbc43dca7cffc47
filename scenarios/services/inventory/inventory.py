"""The shop's inventory, in Python and with its standard library alone: a mesh is there for more than one language.

The application answers GET /stock/SKU on HOST:PORT. On CONTROL_HOST:CONTROL_PORT the lab finds /healthz,
/metrics, /_stats and /_fault, as in the other services (scenarios/services/service.ts).
"""

import json
import os
import random
import resource
import select
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NO_FAULT = {"latencyMs": 0, "errorRate": 0, "errorStatus": 503, "hang": False, "crash": False, "seed": 1}
CRASHED = 75
GONE = object()


class Switch:
    """What is wrong at the moment, and what was counted."""

    def __init__(self):
        self.lock = threading.Condition()
        self.fault = dict(NO_FAULT)
        self.random = random.Random(1)
        self.working = 0
        self.reset()

    def reset(self):
        with self.lock:
            self.stats = {"received": 0, "byTag": {}, "bySubject": {}, "finishedByTag": {}, "stoppedByTag": {}, "workedMsByTag": {}}

    def set(self, fault):
        with self.lock:
            self.fault = {**NO_FAULT, **fault}
            self.random = random.Random(self.fault["seed"])
            self.lock.notify_all()

    def count(self, tag, subject):
        with self.lock:
            self.stats["received"] += 1
            for name, key in (("byTag", tag), ("bySubject", subject)):
                if key is not None:
                    self.stats[name][key] = self.stats[name].get(key, 0) + 1

    def worked(self, tag, outcome, seconds):
        """Work on a request is over: finished, or stopped because nobody waited for it any more."""
        if tag is None:
            return
        with self.lock:
            for name, amount in ((outcome + "ByTag", 1), ("workedMsByTag", seconds * 1000)):
                self.stats[name][tag] = self.stats[name].get(tag, 0) + amount

    def meet(self, connection):
        """Waits as long as the fault wants; returns the status to fail with, GONE without a client, or None."""
        with self.lock:
            self.lock.wait_for(lambda: not self.fault["hang"])
            capacity = self.fault.get("capacity")
            if capacity:
                self.lock.wait_for(lambda: self.working < self.fault.get("capacity", {"slots": sys.maxsize})["slots"])
                self.working += 1
        if capacity:
            time.sleep(capacity["workMs"] / 1000)
            with self.lock:
                self.working -= 1
                self.lock.notify()
        latency = self.fault["latencyMs"]
        if latency and not work(latency / 1000, connection):
            return GONE
        with self.lock:
            failing = self.fault["errorRate"] > 0 and self.random.random() < self.fault["errorRate"]
            return self.fault["errorStatus"] if failing else None


def work(seconds, connection):
    """Works for so long, or until the client is gone; tells whether it stayed."""
    until = time.monotonic() + seconds
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if not poll.poll(seconds * 1000):
        return True
    try:
        if connection.recv(1, socket.MSG_PEEK) == b"":
            return False
    except OSError:
        return False
    # The client is there, and has sent its next request already.
    time.sleep(max(0, until - time.monotonic()))
    return True


SWITCH = Switch()
INSTANCE = os.environ.get("INSTANCE", "inventory")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 75
    # Head and body in one segment: unbuffered, Nagle's algorithm would hold the second back.
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def answer(self, status, document=None, text=None):
        body = b"" if status == 204 else (text if text is not None else json.dumps(document)).encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", "text/plain" if text is not None else "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Application(Handler):
    def do_GET(self):
        tag = self.headers.get("x-lab-tag")
        SWITCH.count(tag, self.headers.get("x-lab-client"))
        started = time.monotonic()
        status = SWITCH.meet(self.connection)
        SWITCH.worked(tag, "stopped" if status is GONE else "finished", time.monotonic() - started)
        if status is GONE:
            self.close_connection = True
        elif status is not None:
            self.answer(status, {"error": "inventory fails on purpose"})
        elif self.path.startswith("/stock/"):
            self.answer(200, {"sku": self.path[len("/stock/"):].split("?")[0], "count": 7, "instance": INSTANCE})
        else:
            self.answer(404, {"error": "there is nothing here"})


class Control(Handler):
    def do_GET(self):
        if self.path == "/healthz":
            self.answer(200, {"status": "ok", "service": "inventory"})
        elif self.path == "/_stats":
            with SWITCH.lock:
                self.answer(200, SWITCH.stats)
        elif self.path == "/_fault":
            self.answer(200, SWITCH.fault)
        elif self.path == "/metrics":
            self.answer(200, text=metrics())
        else:
            self.answer(404, {"error": "there is nothing here"})

    def do_PUT(self):
        try:
            fault = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        except ValueError:
            return self.answer(422, {"problems": [{"path": "", "message": "not JSON"}]})
        problems = check(fault)
        if self.path != "/_fault" or problems:
            return self.answer(422 if problems else 404, {"problems": problems})
        if fault.get("crash"):
            # What is in flight stays as it is: requests that hang are not answered first.
            self.answer(200, fault)
            self.wfile.flush()
            os._exit(CRASHED)
        SWITCH.set(fault)
        self.answer(200, SWITCH.fault)

    def do_DELETE(self):
        if self.path == "/_fault":
            SWITCH.set({})
        elif self.path == "/_stats":
            SWITCH.reset()
        self.answer(204)


def check(fault):
    if not isinstance(fault, dict):
        return [{"path": "", "message": "not an object"}]
    numbers = ("latencyMs", "errorRate", "errorStatus", "seed")
    problems = [{"path": key, "message": "unknown"} for key in fault if key not in NO_FAULT and key != "capacity"]
    problems += [{"path": key, "message": "not a number"} for key in numbers if not isinstance(fault.get(key, 0), (int, float))]
    problems += [{"path": key, "message": "not a boolean"} for key in ("hang", "crash") if not isinstance(fault.get(key, False), bool)]
    return problems


def metrics():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/statm", encoding="ascii") as statm:
        resident = int(statm.read().split()[1]) * resource.getpagesize()
    return (
        "# TYPE process_cpu_seconds_total counter\n"
        f"process_cpu_seconds_total {usage.ru_utime + usage.ru_stime:.6f}\n"
        "# TYPE process_resident_memory_bytes gauge\n"
        f"process_resident_memory_bytes {resident}\n"
    )


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


def main():
    host = os.environ.get("HOST", "127.0.0.1")
    application = Server((host, int(os.environ.get("PORT", "0"))), Application)
    control = Server((os.environ.get("CONTROL_HOST", host), int(os.environ.get("CONTROL_PORT", "0"))), Control)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: os._exit(0))
    threading.Thread(target=control.serve_forever, daemon=True).start()
    application.serve_forever()


if __name__ == "__main__":
    main()
