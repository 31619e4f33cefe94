"""What nobody sends by mistake: a clear refusal, and the server goes on."""

import base64
import gzip
import io
import json
import tarfile
import zipfile
from typing import Any

import anyio
import anyio.lowlevel
import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Agent, Client, Control, problems

pytestmark = pytest.mark.anyio

DEEP = b"[" * 3000 + b"]" * 3000
BAD_TEXT = b'{"name": "\xff", "version": "\xff", "data": {"attributes": {"name": "\xff"}}}'
JOIN = "/api/v2/agent-pools/join"


@pytest.mark.parametrize("body", [DEEP, b'{"name": ' + DEEP + b"}", BAD_TEXT, b"\xff", b"{"])
async def test_json_that_cannot_be_read(as_: As, api: Client, listener: Agent, body: bytes) -> None:
    nobody = await as_("nobody")
    calls = [
        (nobody, "POST", JOIN),
        (listener, "POST", f"{listener.at}/heartbeat"),
        (api, "POST", "/api/v2/organizations/default/workspaces"),
    ]
    for client, method, path in calls:
        refused = await client.call(method, path, content=body)
        assert refused.status_code in (400, 422), refused.text


async def test_a_state_whose_names_hold_escapes_and_control_characters(
    api: Client, listener: Agent, workspace: str
) -> None:
    evil = "\x1b[31mred\x1b]0;title\x07\r\n\x00\x7f\u009b\u202e"
    instances = [{"index_key": evil, "attributes": {"id": evil}}]
    named = {"name": evil, "type": evil, "module": evil, "provider": evil, "mode": "managed"}
    changed = {
        "resources": [named | {"instances": instances}],
        "outputs": {evil: {"value": evil, "type": "string"}},
        "terraform_version": evil,
    }
    body = json.dumps(factories.STATE | changed).encode()
    await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    work = await factories.starts_apply(listener)
    assert (await listener.send(work, "state", body, "final=true")).status_code == 200
    assert (await listener.report(work, "applied")).status_code == 200
    path = f"/api/v2/workspaces/{workspace}/current-state-version?include=outputs"
    answer = await api.call("GET", path)
    assert min(answer.content) >= 32  # all of them are written as JSON writes them
    shown = answer.json()["data"]["attributes"]
    (resource,) = shown["resources"]
    assert {resource["name"], resource["module"], resource["type"]} == {evil}
    (output,) = answer.json()["included"]
    assert (output["attributes"]["name"], output["attributes"]["value"]) == (evil, evil)
    content = await api.call("GET", shown["hosted-state-download-url"])
    assert content.content == body


async def test_a_signature_of_letters_that_no_base64_has(as_: As, listener: Agent) -> None:
    nobody = await as_("nobody")
    fresh = await nobody.post(f"/api/v2/listeners/{listener.id}/nonce")
    body = {"csr": "x", "nonce": fresh["nonce"], "signature": "\u00e9"}
    refused = await nobody.call("POST", f"/api/v2/listeners/{listener.id}/renew", json=body)
    assert refused.status_code in (401, 403)


async def test_a_request_of_a_version_that_does_not_exist(as_: As, api: Client, pool: str) -> None:
    made = await api.post(
        f"/api/v2/agent-pools/{pool}/authentication-tokens",
        {"type": "authentication-tokens", "attributes": {"description": "x"}},
    )
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    der = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    assert b"\x02\x01\x00" in der
    odd = _pem(der.replace(b"\x02\x01\x00", b"\x02\x01\x05", 1))
    token = made["data"]["attributes"]["token"]
    body = {"join_token": token, "name": "odd", "csr": odd}
    assert (await (await as_("nobody")).call("POST", JOIN, json=body)).status_code == 422


def _pem(der: bytes) -> str:
    lines = base64.encodebytes(der).decode()
    kind = "CERTIFICATE REQUEST"
    return f"-----BEGIN {kind}-----\n{lines}-----END {kind}-----\n"


def header(size: int, type_: bytes = tarfile.REGTYPE) -> bytes:
    """The header of a member that never comes."""
    member = tarfile.TarInfo("x")
    member.size, member.type = size, type_
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "plain",
    [header(2**60), header(2**40, tarfile.CONTTYPE), header(10, tarfile.XHDTYPE) * 3000],
    ids=["huge", "huge special", "headers of headers"],
)
async def test_archives_that_never_end(api: Client, workspace: str, plain: bytes) -> None:
    for _ in range(5):  # more than are checked at once
        id_, url = await factories.upload_url(api, workspace)
        refused = await api.call("PUT", url, content=gzip.compress(plain))
        assert refused.status_code == 422, refused.text
        shown = await api.get(f"/api/v2/configuration-versions/{id_}")
        assert shown["data"]["attributes"]["status"] == "errored"
    assert (await api.call("GET", "/ready")).status_code == 200


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
async def test_damaged_zip_archives(api: Client, method: int) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.writestr("terraform", b"#!/bin/sh\n" * 400)
    good = packed.getvalue()
    path = "/api/v2/admin/binary-cache/terraform/1.9.9/linux/amd64"
    for at in range(30, len(good), 7):
        damaged = good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :]
        refused = await api.call("PUT", path, content=damaged)
        assert refused.status_code in (200, 201, 422), refused.text


async def test_keys_that_would_be_more_than_a_name(api: Client, workspace: str) -> None:
    path = f"/api/v2/workspaces/{workspace}/vars"
    bad = [("terraform", "a = 1\nb"), ("terraform", "foo bar"), ("terraform", "1a"), ("env", "A=B")]
    for category, key in bad:
        given = {"key": key, "value": "x", "category": category}
        refused = await api.call("POST", path, json=_document("vars", given))
        assert refused.status_code == 422
        assert problems(refused)[0]["source"] == {"pointer": "/data/attributes/key"}
    made = await api.post(path, {"type": "vars", "attributes": {"key": "a", "category": "env"}})
    change = {"key": "a b", "category": "terraform"}
    at = f"{path}/{made['data']['id']}"
    assert (await api.call("PATCH", at, json=_document("vars", change))).status_code == 422
    run = factories.new_run(workspace, variables=[{"key": "a = 1\nb", "value": "1"}])
    assert (await api.call("POST", "/api/v2/runs", json={"data": run})).status_code == 422


def _document(type_: str, attributes: Any) -> Any:
    return {"data": {"type": type_, "attributes": attributes}}


async def test_times_and_ids_that_are_none(api: Client, pool: str, workspace: str) -> None:
    token = {"expired-at": "2030-01-01T00:00:00"}
    path = f"/api/v2/agent-pools/{pool}/authentication-tokens"
    sent = await api.call("POST", path, json=_document("authentication-tokens", token))
    assert sent.status_code == 422
    far = {"execution-mode": "agent", "agent-pool-id": "x" * 300_000}
    at = f"/api/v2/workspaces/{workspace}"
    assert (await api.call("PATCH", at, json=_document("workspaces", far))).status_code == 422
    by_id = await api.call("GET", f"/api/v2/organizations/default/workspaces/{workspace}")
    assert by_id.status_code == 404


async def test_a_run_of_a_state_is_one_of_its_workspace(api: Client, workspace: str) -> None:
    other = await factories.workspace(api, "other")
    await factories.configuration(api, other)
    foreign = await factories.run(api, other)
    for run, status in (("nonsense", 404), ("run-1111111111111111", 404), (foreign, 422)):
        document = _document("state-versions", {"serial": 1, "md5": "0" * 32})
        document["data"]["relationships"] = {"run": {"data": {"type": "runs", "id": run}}}
        path = f"/api/v2/workspaces/{workspace}/state-versions"
        refused = await api.call("POST", path, json=document)
        assert refused.status_code == status, refused.text


async def test_a_content_that_is_gone_is_an_answer_and_no_broken_one(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    await factories.applies(listener)
    current = await api.get(f"/api/v2/workspaces/{workspace}/current-state-version")
    await control.services.blobs.delete(f"state/{workspace}/{current['data']['id']}")
    url = current["data"]["attributes"]["hosted-state-download-url"]
    assert (await api.call("GET", url)).status_code == 410
    await factories.run(api, workspace)
    work = await listener.claim("next")
    assert work is not None
    path = f"{listener.at}/phases/{work['phase_id']}/state?fence={work['fence']}"
    assert (await listener.call("GET", path)).status_code == 410


async def test_the_queue_shows_nothing_of_what_is_not_seen(
    as_: As, api: Client, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    path = "/api/v2/organizations/default/runs/queue"
    stranger = await (await as_("stranger")).get(path)
    assert (stranger["data"], stranger["meta"]["pagination"]["total-count"]) == ([], 0)
    seen = await api.get(path)
    assert [one["id"] for one in seen["data"]] == [run]


async def test_a_database_that_goes_away_is_told_as_such(
    control: Control, api: Client, dsn: str, workspace: str
) -> None:
    admin = await asyncpg.connect(dsn)
    for _ in range(3):
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where pid <> pg_backend_pid() and backend_type = 'client backend'"
        )
        answer = await api.call("GET", f"/api/v2/workspaces/{workspace}")
        assert answer.status_code in (200, 503), answer.text
    await admin.close()
    with anyio.fail_after(10):
        while (await api.call("GET", f"/api/v2/workspaces/{workspace}")).status_code != 200:
            await anyio.lowlevel.checkpoint()
