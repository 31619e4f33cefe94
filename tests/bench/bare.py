"""A program: a bare Litestar that answers with given bytes, over TLS, as the server's neighbour.

``python tests/bench/bare.py FOLDER``: FOLDER has ``cert.pem`` (with its key) and one file for
each route; the port is written to ``FOLDER/port``.
"""

import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import uvicorn
from litestar import Litestar, Request, Response, get, post, put
from litestar.params import FromPath

FOLDER = Path(sys.argv[1])


def _content(name: str) -> bytes:
    return (FOLDER / "bodies" / name).read_bytes()


BODIES = {path.name: _content(path.name) for path in (FOLDER / "bodies").iterdir()}


@get("/get/{name:str}")
async def show(name: FromPath[str]) -> Response[bytes]:
    """The bytes of a route."""
    return Response(BODIES[name], media_type="application/vnd.api+json")


@post("/post/{name:str}")
async def create(name: FromPath[str], request: Request[Any, Any, Any]) -> Response[bytes]:
    """The same after a document was taken."""
    await request.json()
    return Response(BODIES[name], media_type="application/vnd.api+json")


@put("/upload", status_code=204, request_max_body_size=None)
async def upload(request: Request[Any, Any, Any]) -> None:
    """Take a body and keep nothing of it."""
    async for _ in request.stream():
        pass


def main() -> None:
    """Serve until SIGTERM."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FOLDER / "cert.pem")
    bound = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        Litestar([show, create, upload], openapi_config=None),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        ssl_context_factory=lambda _config, _default: context,
    )
    draft = FOLDER / "port.new"
    draft.write_text(str(bound.getsockname()[1]))
    draft.rename(FOLDER / "port")
    uvicorn.Server(config).run([bound])


if __name__ == "__main__":
    main()
