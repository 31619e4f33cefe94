"""`terrapod-agent doctor`: looks at all that an agent stands on, one line for each thing."""

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

import httpx2
from anyio import to_thread
from msgspec import Struct

from terrapod_agent import api_errors, disk_space, status
from terrapod_agent import identity as identities
from terrapod_agent.errors import OperationFailed
from terrapod_agent.executors import isolation
from terrapod_agent.identity import Identity
from terrapod_agent.settings import AgentSettings, inherited_files
from terrapod_agent.work import run_folder
from terrapod_common import agent_protocol, files

Verdict = Literal["ok", "note", "FAIL"]
_SKEW = 60.0  # seconds; certificates and signed addresses bear as much
_PING = "/api/v2/ping"


class Finding(Struct, frozen=True):
    """One thing that was looked at."""

    verdict: Verdict
    subject: str
    detail: str


async def examine(chosen: AgentSettings) -> AsyncIterator[Finding]:
    """Look at everything; nothing is changed, and a running agent is not disturbed."""
    try:
        known = identities.load(chosen.data_dir)
    except OperationFailed as failed:
        known = None
        yield Finding("FAIL", "identity", str(failed))
    if known is None:
        yield Finding("FAIL", "identity", f"none in {chosen.data_dir}: use `terrapod-agent join`")
    else:
        yield Finding("ok", "identity", f"{known.name} ({known.listener_id})")
        yield _certificate(known)
        async for finding in _server(chosen, known):
            yield finding
    async for finding in _machine(chosen):
        yield finding
    for finding in await to_thread.run_sync(lambda: list(_tools(chosen.data_dir / "tools"))):
        yield finding


def _certificate(known: Identity) -> Finding:
    ends = f"{known.expires():%Y-%m-%d %H:%M} UTC"
    if known.expired():
        return Finding("FAIL", "certificate", f"ended at {ends}, by the clock of this machine")
    return Finding("ok", "certificate", f"ends at {ends}, and renews itself while the agent runs")


async def _server(chosen: AgentSettings, known: Identity) -> AsyncIterator[Finding]:
    # Of what stands behind a certificate, this answers at once and changes nothing.
    orders = agent_protocol.ORDERS.path.format(listener_id=known.listener_id)
    ports = {
        "public port": (known.server_url, _PING, identities.public_context(known.server_ca)),
        "agent port": (
            known.agent_url,
            f"{orders}?wait=0&seen=0",
            identities.agent_context(chosen.data_dir, known),
        ),
    }
    for what, (url, path, trust) in ports.items():
        try:
            async with httpx2.AsyncClient(verify=trust, timeout=chosen.waits.connect) as client:
                answer = await client.get(url + path)
        except httpx2.HTTPError as error:
            text = str(error) or type(error).__name__
            yield Finding("FAIL", what, f"{url}: {text}")
            if what == "public port" and (doubt := identities.doubt_about_clock(text)):
                yield Finding("FAIL", "clock", doubt)
            continue
        if what == "agent port" and answer.is_error:
            refused = api_errors.from_response(
                agent_protocol.ORDERS, answer.status_code, answer.content
            )
            yield Finding("FAIL", what, f"{url}: {refused}")
            continue
        yield Finding("ok", what, f"{url} answers")
        if what == "public port" and (date := answer.headers.get("date")):
            yield _clock(parsedate_to_datetime(date))


def _clock(theirs: datetime) -> Finding:
    skew = (datetime.now(UTC) - theirs).total_seconds()
    if abs(skew) > _SKEW:
        return Finding("FAIL", "clock", f"{skew:+.0f} s against the server's")
    return Finding("ok", "clock", "as the server's")


async def _machine(chosen: AgentSettings) -> AsyncIterator[Finding]:
    try:
        files.private_folder(chosen.data_dir)
        root = run_folder.usable_root(chosen.runs_dir, chosen.data_dir / "runs")
    except (OperationFailed, OSError) as error:
        yield Finding("FAIL", "folders", str(error))
        return
    folders = sorted({chosen.data_dir, root})
    full = await to_thread.run_sync(disk_space.shortage, folders, chosen.free_bytes)
    told = full or f"enough in {' and '.join(map(str, folders))}"
    yield Finding("FAIL" if full else "ok", "space", told)
    try:
        found = await isolation.choose(chosen, root)
    except OperationFailed as failed:
        yield Finding("FAIL", "isolation", str(failed))
        return
    yield Finding("note" if found.why else "ok", "isolation", found.describe())
    running = status.read(chosen.data_dir)
    if running and not running.stale and running.isolation != found.describe():
        told = f"the agent that runs was started otherwise: {running.isolation}"
        yield Finding("note", "isolation", told)
    if found.mode != "none" and os.geteuid() == 0:
        for path in inherited_files(chosen):
            if path.is_file() and not path.stat().st_mode & 0o004:
                yield Finding("note", "isolation", f"{path} is not readable for the user of a run")


def _tools(folder: Path) -> Iterator[Finding]:
    right = 0
    for path in sorted(folder.glob("*/*")):
        try:
            with files.open_regular(path) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            digest = ""
        right += digest == path.parent.name
        if digest != path.parent.name:
            yield Finding("note", "tools", f"{path} was changed; it is not used, and fetched again")
    yield Finding("ok", "tools", f"{right} in the cache are as they were fetched")
