"""Keeps the state of one apply: what terraform sends, it writes to the disk, whole or not at all.

Started as a program of its own, before terraform, with hardly more than the standard library. It
needs neither the agent nor the shim: the agent holds the other end of its standard input, and when
that has ended it goes on for as long as terraform runs.

Its argument is a JSON file: ``folder``, in which ``terraform.tfstate`` is the present state, if
any; ``workspace``, ``version`` and ``password``; and ``config``, the text of terraform's
configuration with ``@PORT@`` where the port belongs, which goes ``into`` a file that is there
already. After that one line on standard output says that it is ready. ``lock`` is held while
terraform runs, or has its ``pid`` and ``start`` in it. Only the user ``uid``, if any, is let in.

It speaks as much of the API for states as a ``cloud`` block needs that runs its operations
itself. There is one workspace; to lock it and to unlock it has no effect.
"""

import contextlib
import fcntl
import hmac
import json
import os
import signal
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from terrapod_agent.executors import kernel, peers

_BLOCK = 1024 * 1024
_LAST_WORDS = 10.0  # seconds for what is being written when terraform is gone
_LOOK_EVERY = 0.5
_EVERY = "20"  # seconds between two snapshots; terraform takes no less
_SMALL = 64 * 1024 * 1024  # of a document, which holds the outputs


def address_key(password: str) -> str:
    """What opens the addresses of states: terraform may print one, so it is masked in logs."""
    return hmac.new(password.encode(), b"addresses", "sha256").hexdigest()[:32]


class Store:
    """The newest state, in one file."""

    def __init__(self, orders: dict[str, str]) -> None:
        self.orders = orders
        self.path = os.path.join(orders["folder"], "terraform.tfstate")  # noqa: PTH118 - quick start
        self.key, self.port = address_key(orders["password"]), self._port()
        self._lock = threading.Lock()
        self._announced = time.time_ns()  # more than any number of a server before this one
        self._stored = 0

    def _port(self) -> int:
        """The one of a server before this one, which terraform knows."""
        path = os.path.join(self.orders["folder"], "address")  # noqa: PTH118 - quick start
        with contextlib.suppress(FileNotFoundError, ValueError), open(path) as file:  # noqa: PTH123
            return int(file.read())
        return 0

    def announce(self) -> int:
        """The number of the next state."""
        with self._lock:
            self._announced += 1
            return self._announced

    def put(self, number: int, written: str) -> None:
        """Make a file the newest state, unless a newer one is there."""
        with self._lock:
            if number >= self._stored:
                os.replace(written, self.path)  # noqa: PTH105 - quick start
                self._stored = number
                _sync(self.orders["folder"])


class Server(ThreadingHTTPServer):
    """Serves one store, on loopback alone."""

    daemon_threads = False
    block_on_close = True

    def __init__(self, store: Store) -> None:
        self.store = store
        super().__init__(("127.0.0.1", store.port), Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether it is the run that connects: another one may not fill this server."""
        uid = self.store.orders["uid"]
        return peers.peer_allowed(request, int(uid) if uid else None)


class Handler(BaseHTTPRequestHandler):
    """Answers terraform."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        """Reads."""
        store, path = self.server.store, self.path.partition("?")[0]
        if path == f"/{store.key}/state":
            self._state(store.path)
        elif not self._known():
            self._problem(401, "unauthorized")
        elif path == "/api/v2/ping":
            self._answer(204)
        elif path.endswith("/entitlement-set"):
            self._document("entitlement-sets", "org", {"operations": False, "state-storage": True})
        elif path == f"/api/v2/organizations/terrapod/workspaces/{store.orders['workspace']}":
            self._workspace()
        elif path == "/api/v2/workspaces/ws-run/current-state-version":
            self._current(store)
        elif path.startswith("/api/v2/state-versions/sv-"):
            self._document("state-versions", path.rpartition("/")[2], {"status": "finalized"})
        else:
            self._problem(404, "not found")

    def do_POST(self) -> None:
        """Announces a state, locks, unlocks."""
        if not self._known():
            self._problem(401, "unauthorized")
            return
        if self._body(None, _SMALL) is None:
            return
        store = self.server.store
        if self.path == "/api/v2/workspaces/ws-run/state-versions":
            number = store.announce()
            urls = {
                "hosted-state-upload-url": self._url(f"put/{number}"),
                "hosted-json-state-upload-url": self._url("drop"),
                "status": "pending",
            }
            self._document("state-versions", f"sv-{number}", urls, 201)
        elif self.path.startswith("/api/v2/workspaces/ws-run/actions/"):
            self._workspace()
        else:
            self._problem(404, "not found")

    def do_PUT(self) -> None:
        """Takes a state; it is on the disk when this is answered."""
        store = self.server.store
        verb, _, number = self.path.removeprefix(f"/{store.key}/").partition("/")
        if not self.path.startswith(f"/{store.key}/") or verb not in ("put", "drop"):
            self._problem(404, "not found")
        elif verb == "drop":  # the same once more, in a form that nobody here reads
            if self._body(None) is not None:
                self._answer(200)
        else:
            self._take(store, int(number))

    def log_message(self, *_: Any) -> None:
        """Say nothing: there is nobody to hear it."""

    def _take(self, store: Store, number: int) -> None:
        try:
            descriptor, name = tempfile.mkstemp(dir=store.orders["folder"], prefix=".new.")
        except OSError as error:
            self.close_connection = True  # its body was not read
            self._problem(500, f"the state cannot be kept: {error.strerror}")
            return
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
                if self._body(file) is None:
                    return
                file.flush()
                os.fsync(descriptor)
            store.put(number, name)
        except OSError as error:
            self.close_connection = True
            self._problem(500, f"the state cannot be kept: {error.strerror}")
        else:
            self._answer(200)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)  # noqa: PTH108 - quick start

    def _body(self, into: Any, limit: int | None = None) -> int | None:
        """Read the body, into a file if there is one; nothing when it was cut off or is refused."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or (limit is not None and int(length) > limit):
            self.close_connection = True
            self._problem(413 if length.isdigit() else 411, "a body of this size is not taken")
            return None
        left = int(length)
        while left:
            block = self.rfile.read(min(left, _BLOCK))
            if not block:
                self.close_connection = True
                return None
            left -= len(block)
            if into is not None:
                into.write(block)
        return int(length)

    def _known(self) -> bool:
        said = self.headers.get("Authorization", "").encode()
        return hmac.compare_digest(said, f"Bearer {self.server.store.orders['password']}".encode())

    def _url(self, rest: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{self.server.store.key}/{rest}"

    def _current(self, store: Store) -> None:
        if not os.path.exists(store.path):  # noqa: PTH110 - quick start
            self._problem(404, "there is no state yet")
            return
        self._document("state-versions", "sv-0", {"hosted-state-download-url": self._url("state")})

    def _state(self, path: str) -> None:
        with open(path, "rb") as file:  # noqa: PTH123 - quick start
            self._answer(200, file.read(), "application/json")

    def _workspace(self) -> None:
        orders = self.server.store.orders
        said = {"execution-mode": "local", "operations": False, "locked": False}
        named = {"name": orders["workspace"], "terraform-version": orders["version"]}
        self._document("workspaces", "ws-run", {**said, **named})

    def _document(self, type_: str, id_: str, attributes: dict[str, Any], code: int = 200) -> None:
        said = {"data": {"type": type_, "id": id_, "attributes": attributes}}
        self._answer(code, json.dumps(said).encode())

    def _problem(self, code: int, title: str) -> None:
        said = {"errors": [{"status": str(code), "title": title}]}
        self._answer(code, json.dumps(said).encode())

    def _answer(
        self, code: int, body: bytes = b"", content: str = "application/vnd.api+json"
    ) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Terraform-Snapshot-Interval", _EVERY)
        self.send_header("TFP-API-Version", "2.6")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def main(arguments: list[str]) -> int:
    """Serve until the agent is done with it, or gone and terraform too."""
    with open(arguments[0], "rb") as file:  # noqa: PTH123 - quick start
        orders = json.load(file)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    # Held to the end: who wants to know the last state waits for it.
    held = os.open(os.path.join(orders["folder"], "lock"), os.O_RDWR | os.O_CREAT, 0o600)  # noqa: PTH118
    fcntl.flock(held, fcntl.LOCK_EX)
    server = Server(Store(orders))
    with open(os.path.join(orders["folder"], "address"), "w") as address:  # noqa: PTH118, PTH123
        address.write(str(server.server_port))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # Written in place: its owner and mode are those that the run needs.
    # It lies where the run may write: a link or a pipe that it has put there is not opened.
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(orders["into"], flags), "w") as config:
        if os.fstat(config.fileno()).st_nlink != 1:
            return 1  # one with a second name may be somebody else's
        config.truncate()
        config.write(orders["config"].replace("@PORT@", str(server.server_port)))
    os.write(1, b"ready\n")
    while os.read(0, 64):
        pass
    while terraform_alive(orders["lock"]):
        time.sleep(_LOOK_EVERY)
    last = threading.Timer(_LAST_WORDS, os._exit, (0,))
    last.daemon = True
    last.start()
    server.shutdown()
    server.server_close()  # waits for what is being written
    return 0


def terraform_alive(lock: str) -> bool:
    """Whether a terraform runs for which this lock is held, or in which it is recorded."""
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lines = os.read(descriptor, 65536).decode(errors="replace").splitlines()
        said = {name: value for name, _, value in (line.partition(" ") for line in lines)}
        start = kernel.start_time(int(said["pid"]))
    except BlockingIOError:
        return True
    except (OSError, KeyError, ValueError):
        return False
    finally:
        os.close(descriptor)
    return start != 0 and str(start) == said.get("start", "")


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
