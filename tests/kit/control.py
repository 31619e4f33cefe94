"""An in-process control plane: a real PostgreSQL, both ports with real TLS, a movable clock."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from urllib.parse import quote

import anyio
import httpx
import msgspec
from msgspec import Struct

from terrapod_agent.identity import certificate_request, new_key
from terrapod_control_plane import boot
from terrapod_control_plane.certificates import ServedCertificates
from terrapod_control_plane.identity import internal as identity
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Services, system
from terrapod_control_plane.runs import service as runs_service
from terrapod_control_plane.runs.phases.leases import jobs as leases_jobs
from terrapod_control_plane.settings import LoggingSettings, RunsSettings, ServerSettings, Settings
from terrapod_control_plane.web import tls
from tests.kit.clock import MovableClock

_KEPT = ("migration", "secrets", "organizations", "installation")
# Only tests sweep and look, so that nothing moves behind their backs.
_NEVER = 1e6


class Answered(Exception):
    """The server answered with something else than a test counts on."""


class Client:
    """Speaks JSON:API as one actor; every answer is looked at for what no answer may be."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Any request; a 500 is never right, and what is refused says so in a document."""
        answer = await self.http.request(method, path, **options)
        if answer.status_code == 500:
            raise Answered(f"{method} {path}: {answer.text}")
        if answer.status_code >= 400:
            problems(answer)
        return answer

    async def get(self, path: str, **options: Any) -> Any:
        """The document at a path."""
        return _good(await self.call("GET", path, **options))

    async def post(self, path: str, data: Any = None, **options: Any) -> Any:
        """The document that a POST of a document gives."""
        content = msgspec.json.encode({"data": data}) if data is not None else b""
        return _good(await self.call("POST", path, content=content, **options))


def problems(answer: httpx.Response) -> list[dict[str, Any]]:
    """The errors of an answer, checked for their shape."""
    found: list[dict[str, Any]] = answer.json()["errors"]
    assert found, answer.text
    for problem in found:
        assert problem["status"] == str(answer.status_code), answer.text
        assert isinstance(problem["title"], str), answer.text
        assert problem["title"], answer.text
    return found


def _good(answer: httpx.Response) -> Any:
    if not answer.is_success:
        raise Answered(f"{answer.request.method} {answer.request.url}: {answer.text}")
    return answer.json() if answer.content else None


class Agent(Client):
    """A listener that joined: speaks the protocol over mutual TLS, and does nothing by itself."""

    def __init__(self, http: httpx.AsyncClient, id_: str, pool: str) -> None:
        super().__init__(http)
        self.id = id_
        self.pool = pool
        self.root = ""  # where its runs work, if it says so

    @property
    def at(self) -> str:
        """The path of all that is its own."""
        return f"/api/v2/listeners/{self.id}"

    async def claim(self, key: str, accept: str = "", slot: int = 0) -> dict[str, Any] | None:
        """Work for a slot, without waiting for it."""
        query = f"wait=0&slot={slot}&key={quote(key)}&accept={accept}&root={quote(self.root)}"
        found: dict[str, Any] | None = await self.get(f"{self.at}/runs/next?{query}")
        return found

    async def report(self, work: dict[str, Any], status: str, **said: Any) -> httpx.Response:
        """Says what became of a phase."""
        body = {"status": status, "phase_id": work["phase_id"], "fence": work["fence"]} | said
        return await self.call("PATCH", f"{self.at}/runs/{work['run_id']}", json=body)

    async def send(
        self, work: dict[str, Any], what: str, body: bytes, query: str = ""
    ) -> httpx.Response:
        """Uploads something of a phase."""
        path = f"{self.at}/phases/{work['phase_id']}/{what}?fence={work['fence']}&{query}"
        return await self.call("PUT", path, content=body)

    async def beat(self, *holding: dict[str, Any]) -> Any:
        """I am alive, and hold these."""
        held = [{name: w[name] for name in ("phase_id", "fence", "claim")} for w in holding]
        said = {"holding": held, "root": self.root}
        return _good(await self.call("POST", f"{self.at}/heartbeat", json=said))


class Control(Struct, kw_only=True):
    """A control plane that serves, and how to speak to it."""

    services: Services
    app: Any
    clock: MovableClock
    public_url: str
    agent_url: str
    clients: AsyncExitStack

    async def clean(self) -> None:
        """Forget everything that tests make."""
        self.clock.reset()
        found = await db.rows(
            "select tablename from pg_tables where schemaname = 'public' "
            "and not tablename = any($1)",
            list(_KEPT),
        )
        await db.execute("update organizations set default_agent_pool_id = null")
        await db.execute("update installation set epoch = 0, paused_at = null, pause_reason = ''")
        parts = [f'd{n} as (delete from "{row["tablename"]}")' for n, row in enumerate(found)]
        await db.execute(f"with {', '.join(parts)} select 1")

    async def token(self, name: str, *roles: str) -> tuple[str, str]:
        """A new user's id and token."""
        context = system(self.services)
        user = await identity.create_user(context, f"{name}@example.com", roles=roles)
        minted = await identity.mint(context, "user", user.id, "for a test")
        return user.id, minted.text

    async def client(self, token: str | None = None) -> Client:
        """A client of the public port, with a token or as nobody."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return Client(await self._open(self.public_url, headers, self._trusting()))

    async def join(self, admin: Client, pool: str, name: str) -> Agent:
        """A listener of a pool, which joined with a token and a request of its own."""
        made = await admin.post(
            f"/api/v2/agent-pools/{pool}/authentication-tokens",
            {"type": "authentication-tokens", "attributes": {"description": name}},
        )
        key = new_key()
        asked = {
            "join_token": made["data"]["attributes"]["token"],
            "name": name,
            "csr": certificate_request(key, name),
        }
        joined = _good(await admin.call("POST", "/api/v2/agent-pools/join", json=asked))
        context = self._trusting()
        with NamedTemporaryFile(suffix=".pem") as chain:
            chain.write(f"{key}\n{joined['certificate']}".encode())
            chain.flush()
            context.load_cert_chain(chain.name)
        http = await self._open(self.agent_url, {}, context)
        return Agent(http, joined["listener_id"], joined["pool_id"])

    async def sweep(self) -> None:
        """What the server does by itself every few seconds."""
        for job in leases_jobs.jobs(self.services.settings):
            await job.run(system(self.services))

    async def status(self, run: str) -> str:
        """Where a run stands."""
        found = await runs_service.queries.get(run)
        assert found is not None
        return found.status.value

    def _trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.services.authority.cert_pem.decode())

    async def _open(
        self, url: str, headers: dict[str, str], context: ssl.SSLContext
    ) -> httpx.AsyncClient:
        http = httpx.AsyncClient(base_url=url, headers=headers, verify=context, timeout=20)
        return await self.clients.enter_async_context(http)


def settings(folder: Path) -> Settings:
    """Settings of a server that only moves when it is told to."""
    server = ServerSettings(port=0, agent_port=0, stop_grace_seconds=0.5, look_every_seconds=_NEVER)
    runs, logging = RunsSettings(sweep_seconds=_NEVER), LoggingSettings(events=False)
    return Settings(data_dir=folder, server=server, runs=runs, logging=logging)


@asynccontextmanager
async def served(settings: Settings, dsn: str) -> AsyncIterator[Control]:
    """A control plane on two free ports until the block ends."""
    clock = MovableClock()
    public, agents = tls.ListeningSocket("127.0.0.1", 0), tls.ListeningSocket("127.0.0.1", 0)
    public.bind()
    agents.bind()
    server = msgspec.structs.replace(settings.server, port=public.port, agent_port=agents.port)
    settings = msgspec.structs.replace(settings, server=server)
    try:
        async with boot.opened(settings, dsn, clock=clock) as opened:
            ServedCertificates(opened.services).give(public, agents)
            stop, accepting = anyio.Event(), anyio.Event()
            async with anyio.create_task_group() as tasks:

                async def run() -> None:
                    await tls.serve(
                        opened.asgi, public, agents, stop=stop, ready=accepting.set, grace=0.5
                    )

                tasks.start_soon(run)
                await accepting.wait()
                try:
                    yield Control(
                        services=opened.services,
                        app=opened.app,
                        clock=clock,
                        public_url=settings.public_url,
                        agent_url=settings.agent_url,
                        clients=AsyncExitStack(),
                    )
                finally:
                    stop.set()
    finally:
        public.close()
        agents.close()


@asynccontextmanager
async def clients_of(serving: Control) -> AsyncIterator[Control]:
    """The same control plane, whose clients are closed when the block ends."""
    async with AsyncExitStack() as clients:
        yield msgspec.structs.replace(serving, clients=clients)
