"""An application that knows nothing of a proxy: it serves on loopback, and calls others by their names and ports.

On SIGTERM it answers what it was asked and ends. As process 1 of a container it would otherwise not hear of it.
"""

import http.server
import signal
import socket
import sys
import threading
import time
import urllib.request

stopping = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopping.set())
idle = threading.Condition()
in_flight = 0


def say(line):
    # Line and end at once: several threads do.
    sys.stdout.write(f"{line}\n")


def stock():
    try:
        with urllib.request.urlopen("http://inventory:9000/stock/1", timeout=5) as response:
            return f"{response.status} {response.read().decode().strip()}"
    except OSError as error:
        return error


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global in_flight
        with idle:
            in_flight += 1
        try:
            self.answer()
        finally:
            with idle:
                in_flight -= 1
                idle.notify()

    def answer(self):
        say(f"asked for {self.path}")
        body = f"orders, asked via {self.headers.get('Via')}\n".encode()
        if self.path == "/slow":
            # Still calls others when it has been told to end.
            time.sleep(3)
            body += f"{stock()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 3000), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()

while not stopping.is_set():
    say(stock())
    try:
        with socket.create_connection(("redis", 6379), timeout=5) as redis:
            redis.sendall(b"INCR orders\r\n")
            say(f"redis {redis.recv(64).decode().strip()}")
    except OSError as error:
        say(error)
    stopping.wait(2)

server.shutdown()
server.server_close()
with idle:
    idle.wait_for(lambda: in_flight == 0)
say("orders ended")
