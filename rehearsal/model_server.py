"""Model container: serve code/inference.py of /opt/ml/model through GET /ping and POST /invocations.

Stands in for the SageMaker inference images, which call the same four functions
(github.com/aws/sagemaker-inference-toolkit). Runs in the jobs' environment.
"""

import importlib
import json
import os
import sys
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODEL = Path(os.environ.get("OPT_ML", "/opt/ml")) / "model"
MAX_BYTES = 25 * 2**20  # SageMaker's payload limit for real-time inference


class Container(BaseHTTPRequestHandler):
    """Request handler with the images' status codes: 400 if the model rejects the input, 500 if it fails."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(200 if self.path == "/ping" else 404, b"", "text/plain")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        if self.path != "/invocations" or length > MAX_BYTES:
            self.answer(404 if length <= MAX_BYTES else 413, b"", "text/plain")
            return
        accept = self.headers.get("Accept", "*/*").replace("*/*", "application/json")
        try:
            rows = self.server.code.input_fn(self.rfile.read(length), self.headers.get("Content-Type", ""))
            answer = self.server.code.output_fn(self.server.code.predict_fn(rows, self.server.model), accept)
            self.answer(200, answer.encode() if isinstance(answer, str) else answer, accept)
        except (ValueError, json.JSONDecodeError) as error:
            self.answer(400, str(error).encode(), "text/plain")
        except Exception:
            print(traceback.format_exc(), flush=True)
            self.answer(500, b"the model failed; see the endpoint's log", "text/plain")

    def answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form: str, *values: object) -> None:
        if "/ping" not in self.path:
            print(form % values, flush=True)


def main() -> None:
    code = MODEL / "code"
    sys.path.insert(0, str(code))
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))), Container, False)
    server.code = importlib.import_module(os.environ.get("SAGEMAKER_PROGRAM", "inference.py").removesuffix(".py"))
    server.model = server.code.model_fn(str(MODEL))
    # Bind only now: /ping must not succeed before the model is loaded.
    server.server_bind()
    server.server_activate()
    print(f"serving {MODEL}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
