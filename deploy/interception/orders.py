"""An application that knows nothing of a proxy: it serves on loopback, and calls others by their names and ports."""

import http.server
import socket
import threading
import time
import urllib.request


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"orders, asked via {self.headers.get('Via')}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


threading.Thread(target=http.server.ThreadingHTTPServer(("127.0.0.1", 3000), Handler).serve_forever, daemon=True).start()

while True:
    try:
        with urllib.request.urlopen("http://inventory:9000/stock/1", timeout=5) as response:
            print(response.status, response.read().decode().strip())
        with socket.create_connection(("redis", 6379), timeout=5) as redis:
            redis.sendall(b"INCR orders\r\n")
            print("redis", redis.recv(64).decode().strip())
    except OSError as error:
        print(error)
    time.sleep(2)
