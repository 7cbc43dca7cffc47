"""Logs in, asks for an order and pays for one, through the gateway: shop.py [BASE]."""

import json
import sys
import urllib.request

BASE = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"


def call(path, token=None, body=None):
    headers = {"content-type": "application/json"} if body else {}
    if token:
        headers["authorization"] = f"Bearer {token}"
    request = urllib.request.Request(BASE + path, headers=headers, data=json.dumps(body).encode() if body else None)
    with urllib.request.urlopen(request, timeout=5) as response:
        return json.load(response)


token = call("/login", body={"user": "alice", "password": "wonderland"})["access_token"]
print(call("/orders/7", token))
print(call("/orders", token, {"amount": 12}))
