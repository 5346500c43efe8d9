"""The toy server's program: imports so little of the standard library that it starts at once.

The model adds up its inputs. The server takes ``TOY_DELAY`` seconds for it and can be told by
``TOY_FAULT`` to answer wrongly, to answer errors, or to die under load.
"""

import json
import os
import socketserver
import sys
import threading
import time


class Handler(socketserver.StreamRequestHandler):
    wbufsize = -1  # head and body in one segment, or the body waits for a delayed ACK, 40 ms
    disable_nagle_algorithm = True
    count = 0

    def handle(self) -> None:
        while body := self.read_body():
            self.answer(body)
            self.wfile.flush()

    def read_body(self) -> bytes:
        """Return the next request's body, empty at the end of the connection."""
        length = 0
        for line in iter(self.rfile.readline, b"\r\n"):
            if not line:
                return b""
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return self.rfile.read(length)

    def answer(self, body: bytes) -> None:
        time.sleep(float(os.environ.get("TOY_DELAY", "0.001")))
        Handler.count += 1
        fault = os.environ.get("TOY_FAULT", "")
        if fault == "dies" and Handler.count > 20:
            print("toy server: giving up", file=sys.stderr, flush=True)
            os._exit(3)
        if fault == "errors":
            print("toy server: out of order", file=sys.stderr, flush=True)
        status = "503 Service Unavailable" if fault == "errors" else "200 OK"
        result = [[sum(row) + (fault == "wrong")] for row in json.loads(body)["instances"]]
        content = json.dumps({"predictions": result})
        self.wfile.write(
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n{content}".encode()
        )


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128  # of the usual 5, connections opened at once are retried after 1 s

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: connections are also broken off."""


def main() -> None:
    server = Server(("127.0.0.1", 0), Handler)
    if "--until-input-ends" in sys.argv:  # whoever started it is gone, however
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
