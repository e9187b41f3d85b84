# tunnels.py GUARD RELOAD...: opens 5 tunnels through the container "ingress" before each
# reload, a command run in it, waits until the container GUARD has logged a purge for
# each, and checks every tunnel.
import socket
import ssl
import subprocess
import sys
import time

guard, reloads = sys.argv[1], sys.argv[2:]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE


def tunnel():
    return context.wrap_socket(socket.create_connection(("127.0.0.1", 8443), timeout=60))


def alive(t):
    t.sendall(b"ping")
    return t.recv(4) == b"ping"


def purges():
    log = subprocess.run(["podman", "logs", guard], capture_output=True, text=True)
    return (log.stdout + log.stderr).count("purge-ssl-cache on ")


tunnels = []
for n, reload in enumerate(reloads, 1):
    tunnels += [tunnel() for _ in range(5)]
    assert all(alive(t) for t in tunnels)
    subprocess.run(["podman", "exec", "ingress", "sh", "-c", reload], check=True)
    limit = time.monotonic() + 120
    while purges() < n and time.monotonic() < limit:
        time.sleep(1)
print(f"{sum(alive(t) for t in tunnels)} of {len(tunnels)} tunnels are alive")
