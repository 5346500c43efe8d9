"""A server with OpenAI's API: ``python language_model.py PORT [KEY]``.

Its model ``tiny`` repeats the prompt, and takes three requests to load. It refuses other models,
and without the key in ``Authorization`` any request.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATHS = ("/v1/chat/completions", "/v1/completions")


class Model(BaseHTTPRequestHandler):
    """Answers one request after the other."""

    protocol_version = "HTTP/1.1"
    loading = 3
    key = ""

    def do_POST(self) -> None:
        """Answer, whole or in chunks."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if Model.loading > 0:
            Model.loading -= 1
            return self.answer(503, {"error": {"message": "Loading model"}})
        if self.key and self.headers["Authorization"] != f"Bearer {self.key}":
            return self.answer(401, {"error": {"message": "Incorrect API key provided"}})
        if self.path not in PATHS or asked["model"] != "tiny":
            return self.answer(404, {"error": {"message": f"no model {asked['model']}"}})
        chat = self.path == PATHS[0]
        text = asked["messages"][0]["content"] if chat else asked["prompt"]
        words = (text.split() * asked["max_tokens"])[: asked["max_tokens"]]
        if not asked.get("stream"):
            return self.answer(200, {"choices": [{"index": 0, "finish_reason": "length"}]})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for word in words:
            said = {"delta": {"content": word}} if chat else {"text": word}
            self.event({"choices": [{"index": 0, **said}]})
        usage = {"prompt_tokens": len(text.split()), "completion_tokens": len(words)}
        self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
        self.event({"choices": [], "usage": usage})
        self.wfile.write(b"0\r\n\r\n")
        return None

    def answer(self, status: int, content: Any) -> None:
        """Send JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def event(self, content: Any) -> None:
        """Send a server-sent event."""
        data = f"data: {json.dumps(content)}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, *_: object) -> None:
        """Log nothing."""


if __name__ == "__main__":
    Model.key = "".join(sys.argv[2:])
    ThreadingHTTPServer.request_queue_size = 128  # connections that may wait to be accepted
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Model)
    server.serve_forever()
