"""A master CLI that cannot be trusted: fake.py KIND SOCKET LOG. Each connection is one line in LOG."""
import os, random, socket, subprocess, sys, threading, time

kind, path, log = sys.argv[1:]


def processes():
    master = subprocess.check_output(["systemctl", "show", "--property=MainPID", "--value", "haproxy"], text=True).strip()
    return master, subprocess.check_output(["pgrep", "--parent", master, "--exact", "haproxy"], text=True).split()


def lie(command):
    """Whoever serves is old, and says that it is stopping."""
    if command.startswith("@!"):
        return "Pid: %s\nStopping: 1\nCurrConns: 0\n\n" % command[2:].split()[0]
    master, workers = processes()
    row = "%-15s %-15s %-15s 0d00h00m10s     3.0.11\n"
    rows = "".join(row % (pid, "worker", 1) for pid in workers)
    return "#<PID>          <type>          <reloads>       <uptime>        <version>\n" + \
        row % (master, "master", "1 [failed: 1]") + "# workers\n# old workers\n" + rows + "# programs\n\n"


def serve(c):
    command = c.makefile().readline()
    if kind == "hung":
        time.sleep(1e6)
    elif kind == "lying":
        c.sendall(lie(command).encode())
    elif kind == "slow":
        for char in lie(command):
            c.sendall(char.encode())
            time.sleep(1)
    elif kind == "garbage":
        c.sendall(random.randbytes(4096))
    while kind == "endless":
        c.sendall(b"1 worker 1 0d00h00m10s 3.0.11\n" * 1000)
    c.close()


def one(c):
    with open(log, "a") as f:
        f.write("asked\n")
    try:
        serve(c)
    except OSError:
        pass  # hapressure hung up


with socket.socket(socket.AF_UNIX) as l:
    l.bind(path)
    os.chmod(path, 0o600)
    l.listen()
    while True:
        threading.Thread(target=one, args=(l.accept()[0],), daemon=True).start()
