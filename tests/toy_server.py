"""The toy server's program: imports nothing but the standard library, so that it starts at once.

The model adds up its inputs. The server takes ``TOY_DELAY`` seconds for it and can be told by
``TOY_FAULT`` to answer wrongly, to answer errors, or to die under load.
"""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one segment, or the body waits for a delayed ACK, 40 ms
    count = 0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(float(os.environ.get("TOY_DELAY", "0.001")))
        Handler.count += 1
        fault = os.environ.get("TOY_FAULT", "")
        if fault == "dies" and Handler.count > 20:
            print("toy server: giving up", file=sys.stderr, flush=True)
            os._exit(3)
        if fault == "errors":
            print("toy server: out of order", file=sys.stderr, flush=True)
        result = [[sum(row) + (fault == "wrong")] for row in body["instances"]]
        answer = json.dumps({"predictions": result}).encode()
        self.send_response(503 if fault == "errors" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # of the usual 5, connections opened at once are retried after 1 s


def main() -> None:
    server = Server(("127.0.0.1", 0), Handler)
    if "--until-input-ends" in sys.argv:  # whoever started it is gone, however
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
