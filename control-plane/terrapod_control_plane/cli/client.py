"""How commands speak with a control plane over HTTP, and tell what it refuses in one line."""

import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import typer
from msgspec import Struct

from terrapod_control_plane.cli.settings import read, settings_file
from terrapod_control_plane.settings import Settings

MEDIA_TYPE = "application/vnd.api+json"

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="TERRAPOD_URL", help="Where the control plane is."),
]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="TERRAPOD_TOKEN", help="An API token; better in the variable."),
]
CaFile = Annotated[
    Path | None,
    typer.Option("--ca-file", envvar="TERRAPOD_CA_FILE", help="PEM file of whom to trust."),
]


class Client(Struct, frozen=True):
    """One control plane and who asks it."""

    http: httpx.Client

    def get(self, path: str) -> Any:
        """A document."""
        return self.send("GET", path)

    def all(self, path: str) -> Iterator[Any]:
        """The members of all pages of a list."""
        page: int | None = 1
        while page:
            document = self.get(f"{path}?page%5Bsize%5D=100&page%5Bnumber%5D={page}")
            yield from document["data"]
            page = document.get("meta", {}).get("pagination", {}).get("next-page")

    def create(self, path: str, type_: str, attributes: Mapping[str, object]) -> Any:
        """A new resource."""
        body = {"data": {"type": type_, "attributes": attributes}}
        return self.send("POST", path, json=body)["data"]

    def upload(self, path: str, chunks: Iterable[bytes], size: int) -> Any:
        """Send bytes that are never held whole."""
        headers = {"content-type": "application/octet-stream", "content-length": str(size)}
        return self.send("PUT", path, content=chunks, headers=headers)["data"]

    def send(self, method: str, path: str, **request: Any) -> Any:
        """The document that a request is answered with, or one line and exit code 1."""
        try:
            answer = self.http.request(method, f"/api/v2/{path}", **request)
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            raise failed(f"{self.http.base_url} can't be reached: {error}") from None
        if not answer.is_success:
            raise failed(_refusal(answer))
        try:
            return answer.json() if answer.content else {}
        except ValueError:
            raise failed(f"{self.http.base_url} does not answer like Terrapod.") from None


def failed(message: str) -> typer.Exit:
    """Tell what went wrong; raise the result."""
    typer.echo(message, err=True)
    return typer.Exit(1)


def segment(text: str) -> str:
    """Text as one segment of a path."""
    return quote(text, safe="")


@contextmanager
def connected(url: str | None, token: str | None, ca_file: Path | None) -> Iterator[Client]:
    """A client for the given control plane, or for the one in the local data directory."""
    settings = read(settings_file())
    data = settings.data_dir
    # A local secret goes nowhere but to the local server.
    secret = token or ("" if url else _text(settings.token_file))
    if not secret:
        raise failed("There is no token: set TERRAPOD_TOKEN or use --token.")
    local_ca = None if url else data / "ca.pem"
    address = (url or _local_url(settings)).rstrip("/")
    try:
        http = httpx.Client(
            base_url=address,
            headers={"authorization": f"Bearer {secret}", "accept": MEDIA_TYPE},
            verify=_trust(ca_file or local_ca, required=ca_file is not None),
            timeout=httpx.Timeout(60, write=300, read=300),
        )
    except httpx.InvalidURL as error:
        raise failed(f"{address} can't be reached: {error}") from None
    with http:
        yield Client(http)


def _local_url(settings: Settings) -> str:
    return _text(settings.data_dir / "url") or settings.public_url


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise failed(f"{file} can't be read: {error.strerror}") from None


def _trust(ca_file: Path | None, *, required: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is None or not (required or ca_file.exists()):
        return context
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError as error:
        raise failed(f"{ca_file} is no usable CA file: {error.strerror or error}") from None
    return context


def _refusal(answer: httpx.Response) -> str:
    try:
        errors = answer.json()["errors"]
        told = [e.get("detail") or e.get("title") or "" for e in errors]
    except (ValueError, KeyError, TypeError, AttributeError):
        told = []
    return f"{answer.status_code}: {'; '.join(told) or answer.reason_phrase}"
