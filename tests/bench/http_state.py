"""A program: the smallest server for terraform's backend ``http``, as its user would run one.

``python tests/bench/http_state.py FOLDER``: the port is written to ``FOLDER/port``, the state of
each path to a file of its name.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()


class Handler(BaseHTTPRequestHandler):
    """GET and POST of a state; there are no locks, for there is one user."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """The state, if there is one."""
        path = self._path()
        if path.exists():
            self._answer(200, path.read_bytes())
        else:
            self._answer(404)

    def do_POST(self) -> None:
        """The next state."""
        self._path().write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(200)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _path(self) -> Path:
        return FOLDER / f"{Path(self.path).name}.tfstate"

    def _answer(self, code: int, body: bytes = b"") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until told to end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    draft = FOLDER / "port.new"
    draft.write_text(str(server.server_port))
    draft.rename(FOLDER / "port")
    server.serve_forever()


if __name__ == "__main__":
    main()
