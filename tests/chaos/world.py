"""A server, agents behind networks of their own, workspaces, and a person who ends holds."""

import contextlib
import itertools
import re
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
from msgspec import Struct

from terrapod_agent import identity as identities
from terrapod_agent import status
from terrapod_control_plane.kernel.postgres.embedded import Embedded
from tests.chaos.history import FINAL, Blow, History, Hold, Seen
from tests.kit import factories
from tests.kit.counter import Counter, configuration
from tests.kit.proxy import Proxy
from tests.kit.stack import Agent, Server
from tests.kit.terraforms import real_terraform

LINES = 3
PAUSE = 0.05  # between two lines
_PATIENCE = 12.0  # of the person, for a state that may still arrive
_AWAY = 90.0  # a server that answers nothing for so long has failed
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_AGENT = {"TERRAPOD_AGENT_WAITS__STATUS": "0.05"}


class Place(Struct):
    """An agent, and the network between it and the server."""

    agent: Agent
    network: Proxy

    def step(self, run: str) -> tuple[str, str] | None:
        """Which phase of the run the agent has, and how far it is."""
        try:
            found = status.read(self.agent.data)
        except msgspec.DecodeError:
            return None
        for busy in found.busy if found else ():
            if busy.run_id == run:
                return busy.kind, busy.step
        return None

    @property
    def pid(self) -> int:
        """The process of the agent."""
        assert self.agent.process is not None
        return self.agent.process.pid

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return self.agent.process is not None and self.agent.process.poll() is None


class World:
    """All of it; what happens in it is remembered."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.server = Server(folder=folder / "server", settings=settings or {})
        self.counter = Counter()
        self.places: dict[str, Place] = {}
        self.blows: list[Blow] = []
        self.holds: dict[tuple[str, str, str], Hold] = {}
        self.workspaces: dict[str, str] = {}  # name -> id
        self.pool_id = ""  # of the tests that share one
        self._folder = folder
        self._keys: dict[str, list[str]] = {}  # of a configuration version
        self._numbers = itertools.count(1)
        self._http: httpx.Client | None = None

    def open(self) -> None:
        """Start the server, with a terraform in its cache."""
        self.server.folder.mkdir(parents=True)
        self.server.start()
        found = shutil.which("terraform")
        tool = Path(found) if found else real_terraform(self._folder / "bin")
        # Printed as: terraform 1.2.3 for linux_amd64 ...
        self.version = self.server.command("cache", "import", str(tool)).split()[1]

    def close(self) -> None:
        """End everything."""
        for place in self.places.values():
            place.agent.stop()
            place.network.close()
        self.server.stop()
        self.counter.close()
        if self._http:
            self._http.close()
        Embedded(self.server.data / "postgres").erase()

    # --- people ---------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: object = None, **options: Any) -> httpx.Response:
        """An answer of the server, asked again until it gives one."""
        end = time.monotonic() + _AWAY
        while True:
            try:
                self._http = self._http or self.server.client()
                answer = self._http.request(method, path, json=body, **options)
                if answer.status_code < 500:
                    return answer
            except httpx.TransportError:
                answer = None
            if time.monotonic() > end:
                raise AssertionError(f"{method} {path}: no answer: {answer}")
            time.sleep(0.1)

    def answers(self, seconds: float) -> bool:
        """Whether the server reads from its database again within so many seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError), self.server.client() as client:
                if client.get("/api/v2/account/details").is_success:
                    return True
            time.sleep(0.2)
        return False

    def api(self, method: str, path: str, body: object = None) -> Any:
        """The document that the administrator is answered with."""
        answer = self.ask(method, f"/api/v2/{path}", body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()["data"]

    def pool(self, name: str) -> str:
        """A new pool's id."""
        return self.server.command("pools", "create", name).split()[0]

    def workspace(self, pool: str, name: str | None = None) -> str:
        """A new workspace's name."""
        name = name or f"w{next(self._numbers)}"
        given = {
            "name": name,
            "terraform-version": self.version,
            "execution-mode": "agent",
            "agent-pool-id": pool,
        }
        body = {"data": {"type": "workspaces", "attributes": given}}
        self.workspaces[name] = self.api("POST", "organizations/default/workspaces", body)["id"]
        return name

    def run(self, workspace: str, keys: list[str], *, lines: int = LINES) -> str:
        """A new run that applies by itself; its id."""
        at = f"workspaces/{self.workspaces[workspace]}"
        given = {"auto-queue-runs": False}
        body = {"data": {"type": "configuration-versions", "attributes": given}}
        made = self.api("POST", f"{at}/configuration-versions", body)
        text = configuration(workspace, self.counter.port, keys, lines, PAUSE)
        url = made["attributes"]["upload-url"]
        self.ask("PUT", url, content=factories.archive(**{"main.tf": text}))
        self._keys[made["id"]] = keys
        asked = factories.new_run(self.workspaces[workspace], made["id"], **{"auto-apply": True})
        run: str = self.api("POST", "runs", {"data": asked})["id"]
        return run

    def look(self, run: str) -> dict[str, Any]:
        """The attributes of a run."""
        found: dict[str, Any] = self.api("GET", f"runs/{run}")["attributes"]
        return found

    def person(self) -> None:
        """See to the holds: adopt the state, or when none has arrived in time, clear."""
        for name, id_ in self.workspaces.items():
            hold = self.api("GET", f"workspaces/{id_}")["attributes"]["hold"]
            if hold is None:
                for ended in self.holds.values():
                    if ended.workspace == name and ended.until is None:
                        ended.until = time.time()
                continue
            since = moment(hold["since"])
            key = (name, hold["run"], hold["since"])
            self.holds.setdefault(
                key, Hold(workspace=name, run=hold["run"], since=since, reason=hold["reason"])
            )
            adopted = self.ask("POST", f"/api/v2/workspaces/{id_}/actions/adopt-state")
            if not adopted.is_success and time.time() > since + _PATIENCE:
                self.ask("POST", f"/api/v2/workspaces/{id_}/actions/clear-hold")

    def settle(self, runs: list[str], seconds: float = 120) -> None:
        """Wait until all of them are final and no workspace is on hold, as long as it takes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.person()
            left = [run for run in runs if self.look(run)["status"] not in FINAL]
            if not left and not self._held():
                return
            time.sleep(0.3)

    def _held(self) -> bool:
        ids = self.workspaces.values()
        return any(self.api("GET", f"workspaces/{id_}")["attributes"]["hold"] for id_ in ids)

    # --- agents ---------------------------------------------------------------------------------

    def agent(
        self,
        name: str,
        pool: str,
        folder: Path | None = None,
        slots: int = 1,
        settings: Mapping[str, str] | None = None,
    ) -> Place:
        """A new agent, which runs."""
        agent = Agent(
            folder=folder or self._folder / name,
            server=self.server,
            name=name,
            pool=pool,
            slots=slots,
            settings=_AGENT | dict(settings or {}),
        )
        agent.join()
        network = Proxy(self.server.agent_port)
        network.start()
        joined = identities.load(agent.data)
        assert joined is not None
        through = msgspec.structs.replace(joined, agent_url=f"https://localhost:{network.port}")
        identities.store(agent.data, through)
        agent.start()
        self.places[name] = Place(agent, network)
        return self.places[name]

    def blow(self, what: str, *, run: str = "", lasts: float = 0.0) -> None:
        """Remember what is about to be done."""
        now = time.time()
        self.blows.append(Blow(at=now, what=what, until=now + lasts, run=run))

    # --- the record -----------------------------------------------------------------------------

    def history(self, workspaces: list[str] | None = None) -> History:
        """All that there is to see of these workspaces."""
        names = workspaces if workspaces is not None else list(self.workspaces)
        return History(
            lines=LINES,
            counts=[count for count in list(self.counter.counts) if count.workspace in names],
            runs=[run for name in names for run in self._runs(name)],
            holds=[hold for hold in self.holds.values() if hold.workspace in names],
            blows=self.blows,
            states={name: self._state(name) for name in names},
        )

    def _runs(self, workspace: str) -> list[Seen]:
        at = f"workspaces/{self.workspaces[workspace]}/runs?page[size]=100&page[number]="
        pages = itertools.takewhile(bool, (self.api("GET", f"{at}{n}") for n in itertools.count(1)))
        return [self._seen(workspace, document) for page in pages for document in page]

    def _seen(self, workspace: str, document: Any) -> Seen:
        said, stamps = document["attributes"], document["attributes"]["status-timestamps"]
        version = document["relationships"]["configuration-version"]["data"]["id"]
        ends = [moment(stamps[f"{end}-at"]) for end in FINAL if f"{end}-at" in stamps]
        return Seen(
            id=document["id"],
            workspace=workspace,
            status=said["status"],
            reason=said.get("reason") or "",
            waiting_on=said.get("waiting-on") or "",
            began=moment(stamps["applying-at"]) if "applying-at" in stamps else None,
            ended=max(ends, default=None),
            keys=self._keys.get(version, []),
            plan_log=self._log(document["id"], "plan"),
            apply_log=self._log(document["id"], "apply"),
        )

    def _log(self, run: str, kind: str) -> str:
        found = self.api("GET", f"runs/{run}/{kind}")["attributes"]
        if found["status"] == "unreachable":
            return "\x02\x03"
        log = self.ask("GET", found["log-read-url"], headers={"authorization": ""}).text
        return _COLOURS.sub("", log)

    def _state(self, workspace: str) -> list[str]:
        at = f"/api/v2/workspaces/{self.workspaces[workspace]}/current-state-version"
        found = self.ask("GET", at)
        if found.status_code == 404:
            return []
        url = found.json()["data"]["attributes"]["hosted-state-download-url"]
        state = self.ask("GET", url).json()
        return [one["index_key"] for held in state["resources"] for one in held["instances"]]


def moment(text: str) -> float:
    """A time of the API as seconds."""
    return datetime.fromisoformat(text).timestamp()


def seen(look: Callable[[], bool], what: str, seconds: float = 40) -> None:
    """Wait for something that may pass quickly."""
    end = time.monotonic() + seconds
    while not look():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not after {seconds:.0f} s")
        time.sleep(0.01)
