"""Counts what was made and removed, outside of Terrapod: provisioners tell it over loopback."""

import socketserver
import threading
import time
from typing import Literal

from msgspec import Struct

Deed = Literal["create", "destroy"]


class Count(Struct, frozen=True):
    """A run made or removed something; said before terraform goes on."""

    at: float
    deed: Deed
    run: str
    workspace: str
    key: str


class Counter:
    """A service on loopback; a sandboxed run reaches it as well."""

    def __init__(self) -> None:
        self.counts: list[Count] = []
        counts, lock = self.counts, threading.Lock()

        class _Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                deed, run, workspace, key = self.rfile.readline().decode().split()
                with lock:
                    told: Deed = "create" if deed == "create" else "destroy"
                    counts.append(Count(time.time(), told, run, workspace, key))
                self.wfile.write(b"counted\n")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


def configuration(workspace: str, port: int, keys: list[str], lines: int, pause: float) -> str:
    """Resources that tell the counter of themselves, then print numbered lines."""
    wanted = ", ".join(f'"{key}"' for key in keys)
    tell = (
        f"exec 3<>/dev/tcp/127.0.0.1/{port}; echo DEED $TFC_RUN_ID {workspace} $KEY >&3; read -u 3"
    )
    talk = f"for i in $(seq 1 {lines}); do echo line $KEY $i; sleep {pause}; done"
    return f"""
resource "terraform_data" "counted" {{
  for_each = toset([{wanted}])
  input    = each.key
  provisioner "local-exec" {{
    interpreter = ["/bin/bash", "-ec"]
    environment = {{ KEY = each.key }}
    command     = "{tell.replace("DEED", "create")}; {talk}"
  }}
  provisioner "local-exec" {{
    when        = destroy
    interpreter = ["/bin/bash", "-ec"]
    environment = {{ KEY = self.input }}
    command     = "{tell.replace("DEED", "destroy")}"
  }}
}}
"""
