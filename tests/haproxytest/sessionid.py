# A TLS 1.2 client without tickets: host, port, timeout in seconds. One command a line, one answer a line.
import socket, ssl, sys

address, timeout = (sys.argv[1], int(sys.argv[2])), float(sys.argv[3])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.maximum_version = ssl.TLSVersion.TLSv1_2
context.options |= ssl.OP_NO_TICKET
waiting, session = [], None

for line in sys.stdin:
    try:
        if line == "connect\n":
            waiting.append(socket.create_connection(address, timeout))
            answer = "connected"
        else:
            with context.wrap_socket(waiting.pop(0), session=session) as c:
                c.sendall(b"ping")
                if c.recv(4) != b"ping":
                    raise ConnectionError("no echo")
                session = c.session
                answer = "resumed" if c.session_reused else "full"
                c.unwrap()  # without it OpenSSL takes the session for a bad one
    except Exception as error:
        answer = repr(error)
    print(answer, flush=True)
