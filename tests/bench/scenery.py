"""What the benches measure on: workspaces, configurations, runs, states."""

import hashlib
import json
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from tests.bench.light import Site
from tests.bench.place import api
from tests.kit import factories

MANY, BUSY = 10_000, 20

_FILL = """
insert into workspaces
select (jsonb_populate_record(w, jsonb_build_object(
    'id', 'ws-' || lpad(g::text, 16, '0'), 'name', 'many-' || g,
    'current_state_version_id', null, 'current_configuration_version_id', null))).*
from workspaces w, generate_series(1, $1::int) g where w.id = $2
"""


class Scene(Struct, frozen=True, kw_only=True):
    """What the requests name."""

    workspace: str
    run: str
    busy: tuple[str, ...]  # workspaces that get runs


async def workspace(site: Site, name: str, pool: str, **given: Any) -> str:
    """A workspace's id."""
    attributes = {"name": name, "agent-pool-id": pool, "execution-mode": "agent"} | given
    document = {"type": "workspaces", "attributes": attributes}
    made = await api(site, "POST", "organizations/default/workspaces", document)
    id_: str = made["id"]
    return id_


async def configuration(site: Site, workspace_id: str, text: str) -> None:
    """Upload a configuration."""
    document = {"type": "configuration-versions", "attributes": {"auto-queue-runs": False}}
    path = f"workspaces/{workspace_id}/configuration-versions"
    made = await api(site, "POST", path, document)
    where = urlsplit(made["attributes"]["upload-url"]).path
    packed = factories.archive(**{"main.tf": text})
    await site.once(site.request("PUT", where, packed, "application/octet-stream"))


def run_body(workspace_id: str, **given: Any) -> bytes:
    """The document that asks for a run."""
    return json.dumps({"data": factories.new_run(workspace_id, **given)}).encode()


def state(size: int, serial: int) -> bytes:
    """A state of about so many bytes, made of resources as terraform would have written it."""
    one = {
        "mode": "managed",
        "type": "terraform_data",
        "provider": 'provider["terraform.io/builtin/terraform"]',
        "instances": [
            {
                "schema_version": 0,
                "attributes": {"id": "x", "input": {"value": "a" * 700, "type": "string"}},
                "sensitive_attributes": [],
            }
        ],
    }
    each = len(json.dumps(one)) + 20
    resources = [{**one, "name": f"r{n}"} for n in range(max(1, size // each))]
    return json.dumps(factories.STATE | {"serial": serial, "resources": resources}).encode()


async def upload_state(site: Site, workspace_id: str, content: bytes, serial: int) -> None:
    """Announce a state and send its content."""
    md5 = hashlib.md5(content).hexdigest()
    document = {"type": "state-versions", "attributes": {"serial": serial, "md5": md5}}
    made = await api(site, "POST", f"workspaces/{workspace_id}/state-versions", document)
    where = urlsplit(made["attributes"]["hosted-state-upload-url"]).path
    await site.once(site.request("PUT", where, content, "application/json"))


async def build(site: Site, database: Any, pool: str) -> Scene:
    """A workspace with a state, a run that waits, some that get runs, ten thousand neighbours."""
    id_ = await workspace(site, "bench", pool)
    busy = [await workspace(site, f"busy-{number}", pool) for number in range(BUSY)]
    for each in (id_, *busy):
        await configuration(site, each, "# empty")
    await api(site, "POST", f"workspaces/{id_}/actions/lock", {})
    await upload_state(site, id_, state(10_000, 1), 1)
    await api(site, "POST", f"workspaces/{id_}/actions/unlock", {})
    await database.execute(_FILL, MANY, id_)
    await database.execute("vacuum analyze workspaces")
    body = run_body(id_, **{"plan-only": True})
    answer = await site.once(site.request("POST", "/api/v2/runs", body))
    run = json.loads(answer.body)["data"]["id"]
    return Scene(workspace=id_, run=run, busy=tuple(busy))
