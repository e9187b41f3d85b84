# tunnels.py LOG RELOAD...: opens 5 tunnels before each reload, waits until hapressure, whose
# log the command LOG prints, has purged for each, and checks every tunnel.
import socket
import ssl
import subprocess
import sys
import time

log, reloads = sys.argv[1], sys.argv[2:]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE


def tunnel():
    return context.wrap_socket(socket.create_connection(("127.0.0.1", 8443), timeout=60))


def alive(t):
    t.sendall(b"ping")
    return t.recv(4) == b"ping"


def purges():
    printed = subprocess.run(log, shell=True, capture_output=True, text=True)
    return (printed.stdout + printed.stderr).count("purge-ssl-cache on ")


def answers():
    try:
        return alive(tunnel())
    except OSError:
        return False


start = time.monotonic()
while not answers() and time.monotonic() < start + 120:
    time.sleep(0.5)
before = purges()


tunnels = []
for n, reload in enumerate(reloads, 1):
    tunnels += [tunnel() for _ in range(5)]
    assert all(alive(t) for t in tunnels)
    subprocess.run(reload, shell=True, check=True)
    limit = time.monotonic() + 120
    while purges() < before + n and time.monotonic() < limit:
        time.sleep(1)
print(f"{sum(alive(t) for t in tunnels)} of {len(tunnels)} tunnels are alive")
