"""Where the benches run: a server, its database, an agent's identity, a bare neighbour."""

import ipaddress
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec import Struct

from terrapod_agent import enroll
from terrapod_agent import identity as identities
from terrapod_agent.settings import AgentSettings
from terrapod_common.settings import Secret
from terrapod_control_plane.cli.demo_stage import Stage, carried_reads, program
from terrapod_control_plane.kernel.postgres.home import recorded_folder
from tests.bench.light import Site

_READY = re.compile(r"Terrapod is ready on https://\S+:(\d+), for agents on https://\S+:(\d+)")
_READY_SECONDS = 90.0


class Place(Stage, kw_only=True):
    """A stage whose server may be of another checkout than this one."""

    command: str  # the path of its terrapod
    ports: tuple[str, str] = ("0", "0")  # after the first start those that it had

    def terrapod(self, *arguments: str) -> str:
        """What a command of the server's command line prints."""
        return self.captured([self.command, *arguments])


class Joined(Struct, frozen=True):
    """An agent that is played by the bench."""

    site: Site
    listener: str
    pool: str


def new_stage(command: str = "") -> Place:
    """A folder of its own, for a server that this command starts."""
    folder = Path(tempfile.mkdtemp(prefix="terrapod-bench-"))
    return Place(folder=folder, command=command or program("terrapod"))


def start(stage: Place, *launched: str) -> float:
    """Start the server, or this in its place; how long it took until it said that it is ready."""
    names = ("TERRAPOD_SERVER__PORT", "TERRAPOD_SERVER__AGENT_PORT")
    began = time.monotonic()
    ports = dict(zip(names, stage.ports, strict=True))
    server = stage.spawn("server", [*(launched or [stage.command]), "serve"], ports)
    log = stage.folder / "server.log"
    while (ready := _READY.search(log.read_text())) is None:
        if server.poll() is not None or time.monotonic() > began + _READY_SECONDS:
            raise RuntimeError(f"the server does not start: {log.read_text()[-2000:]}")
        time.sleep(0.01)
    took = time.monotonic() - began
    stage.ports = (ready[1], ready[2])
    return took


def stop(stage: Stage) -> None:
    """Stop the server in order."""
    server = stage.running.pop("server")
    server.terminate()
    server.wait(60)


def people(stage: Stage) -> Site:
    """The public port, as the administrator."""
    token = (stage.data / "admin-token").read_text().strip()
    trust = ssl.create_default_context(cafile=str(stage.data / "ca.pem"))
    return Site(stage.url, trust, {"Authorization": f"Bearer {token}"})


async def api(site: Site, method: str, path: str, data: Any = None) -> Any:
    """The document that a request is answered with."""
    body = b"" if data is None else json.dumps({"data": data}).encode()
    answer = await site.once(site.request(method, f"/api/v2/{path}", body))
    return json.loads(answer.body)["data"] if answer.body else None


def new_pool(stage: Stage, name: str) -> str:
    """A pool's id."""
    return stage.terrapod("pools", "create", name).split()[0]


async def join(stage: Stage, pool: str) -> Joined:
    """An identity in a pool, with which the bench speaks mutual TLS."""
    token = stage.terrapod("pools", "token", pool)
    settings = AgentSettings(
        data_dir=stage.folder / f"identity-{pool}",
        url=stage.url,
        join_token=Secret(token),
        name=f"bench-{pool}",
        ca_file=stage.data / "ca.pem",
    )
    joined = await enroll.join(settings)
    trust = identities.agent_context(settings.data_dir, joined)
    return Joined(Site(joined.agent_url, trust), joined.listener_id, joined.pool_id)


def start_agent(stage: Stage, pool: str) -> None:
    """A real agent, as a process of its own."""
    token, home = stage.terrapod("pools", "token", pool), str(stage.folder / "agent")
    agent = program("terrapod-agent")
    named = ["--token", "-", "--name", "real", "--ca-file", str(stage.data / "ca.pem")]
    stage.captured([agent, "join", stage.url, *named, "--data-dir", home], f"{token}\n")
    runs = {"TERRAPOD_AGENT_RUNS_DIR": str(stage.folder / "runs")} | carried_reads()
    stage.spawn("agent", [agent, "run", "--data-dir", home], runs)


async def database(stage: Stage, size: int) -> "asyncpg.Pool[asyncpg.Record]":
    """Connections of our own to the server's database."""
    data = stage.data / "postgres"
    folder = recorded_folder(data)
    brief = data / "postgres.socket"
    assert folder is not None
    run = Path(brief.read_text().strip()) if brief.exists() else folder / "run"
    port = next(path.name for path in run.iterdir() if _is_socket(path))
    password = (data / "postgres.password").read_text().strip()
    dsn = f"postgresql://terrapod:{password}@/terrapod?host={quote(str(run), safe='')}"
    return await asyncpg.create_pool(
        f"{dsn}&port={port.rpartition('.')[2]}", min_size=size, max_size=size
    )


def _is_socket(path: Path) -> bool:
    return path.is_socket() and path.name.startswith(".s.PGSQL.")


class Neighbour(Struct):
    """The bare Litestar beside the server."""

    process: subprocess.Popen[bytes]
    site: Site

    def end(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait(20)


def neighbour(folder: Path, bodies: dict[str, bytes]) -> Neighbour:
    """Start the bare Litestar with these bytes."""
    (folder / "bodies").mkdir(parents=True)
    for name, body in bodies.items():
        (folder / "bodies" / name).write_bytes(body)
    cert = _self_signed(folder / "cert.pem")
    command = [sys.executable, str(Path(__file__).with_name("bare.py")), str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={"PATH": os.environ["PATH"]}
        )
    end = time.monotonic() + 30
    while not (folder / "port").exists():
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError((folder / "log").read_text()[-2000:])
        time.sleep(0.02)
    port = (folder / "port").read_text()
    trust = ssl.create_default_context(cadata=cert)
    return Neighbour(process, Site(f"https://127.0.0.1:{port}", trust))


def _self_signed(path: Path) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bare")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + cert)
    return cert.decode()
