"""The commands of operators as real processes against a real server."""

import hashlib
import json
import secrets
import zipfile
from pathlib import Path
from typing import Any

import pytest

from terrapod_common.version import VERSION
from tests.e2e.conftest import NewAgent
from tests.kit.commands import Ran, elsewhere, on_agent, ran, terrapod
from tests.kit.stack import Agent, Server, until

pytestmark = pytest.mark.timeout(120)

PROGRAM = b"#!/bin/sh\nexit 0\n"
COMMANDS = [
    ("pools", "create", "never-made"),
    ("pools", "list"),
    ("pools", "token", "main"),
    ("pools", "delete", "main"),
    ("tokens", "create"),
    ("cache", "list"),
    ("workspaces", "list"),
    ("workspaces", "adopt", "app"),
    ("workspaces", "clear", "app"),
    ("variables", "list", "app"),
    ("variables", "set", "app", "key=value"),
]


def join(server: Server, folder: Path, token: str) -> Ran:
    """An agent joins, named after its folder."""
    options = ["--token", "-", "--name", folder.name, "--ca-file", str(server.ca)]
    return on_agent(folder, "join", server.url, *options, say=f"{token}\n")


def account(server: Server, token: str) -> Any:
    """Whom the API takes the holder of a token for."""
    with server.client() as client:
        headers = {"authorization": f"Bearer {token}"}
        answer = client.get("/api/v2/account/details", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


@pytest.fixture
def name() -> str:
    """A name that nothing on the shared server has yet."""
    return f"n{secrets.token_hex(4)}"


@pytest.fixture
def workspace(server: Server, name: str) -> str:
    """The id of a workspace of that name."""
    body = {"data": {"type": "workspaces", "attributes": {"name": name}}}
    made = server.api("POST", "organizations/default/workspaces", body)
    id_: str = made["data"]["id"]
    return id_


def test_a_pool_is_made_once_and_listed(server: Server, name: str) -> None:
    made = terrapod(server, "pools", "create", name)
    assert (made.code, made.err) == (0, "")
    assert f"{made.out}  {name}  0 agents" in terrapod(server, "pools", "list").out.splitlines()
    assert server.api("GET", f"agent-pools/{made.out}")["data"]["attributes"]["name"] == name
    assert terrapod(server, "pools", "create", name).refusal.startswith("409: ")


@pytest.mark.usefixtures("agent")
def test_the_list_of_pools_counts_their_agents(server: Server) -> None:
    def line() -> str | None:
        lines = terrapod(server, "pools", "list").out.splitlines()
        return next((one for one in lines if one.endswith("  main  1 agents")), None)

    until(line, "the agent is seen")


def test_a_join_token_admits_as_many_as_it_says(server: Server, name: str, tmp_path: Path) -> None:
    pool = terrapod(server, "pools", "create", name).out
    for known_as in (name, pool):
        token = terrapod(server, "pools", "token", known_as, "--max-uses", "1")
        assert (token.code, token.err, len(token.out.split())) == (0, "", 1)
        first = join(server, tmp_path / f"first-{known_as}", token.out)
        assert first.code == 0, first.err
        assert f"in pool {pool}" in first.out
        second = join(server, tmp_path / f"second-{known_as}", token.out)
        assert second.code == 1
        assert not {token.out, "Traceback"} & set(second.err.split())


def test_a_join_token_may_end(server: Server, name: str) -> None:
    pool = terrapod(server, "pools", "create", name).out
    assert terrapod(server, "pools", "token", name, "--expires-in-hours", "1").code == 0
    (shown,) = server.api("GET", f"agent-pools/{pool}/authentication-tokens")["data"]
    assert shown["attributes"]["expired-at"] > shown["attributes"]["created-at"]
    assert terrapod(server, "pools", "token", name, "--max-uses", "0").code == 2


def test_an_unknown_pool_is_told_how_to_make_it(server: Server, name: str) -> None:
    said = terrapod(server, "pools", "token", name).refusal
    assert said == f"There is no agent pool {name}: terrapod pools create {name}"


def test_a_new_token_works_at_the_api_and_for_commands(
    server: Server, tmp_path: Path, name: str
) -> None:
    made = terrapod(server, "tokens", "create", "--description", name, "--days", "2")
    assert (made.code, made.err, len(made.out.split())) == (0, "", 1)
    own = account(server, server.token)
    assert account(server, made.out)["id"] == own["id"]
    listed = server.api("GET", f"users/{own['id']}/authentication-tokens?page[size]=100")["data"]
    (told,) = [one for one in listed if one["attributes"]["description"] == name]
    assert told["attributes"]["expired-at"] > told["attributes"]["created-at"]
    assert made.out not in json.dumps(listed)
    there = {"TERRAPOD_URL": server.url, "TERRAPOD_CA_FILE": str(server.ca)}
    asked = elsewhere(tmp_path, "pools", "list", **there, TERRAPOD_TOKEN=made.out)
    assert asked.code == 0, asked.err
    assert "  main  " in asked.out


def test_a_token_is_for_oneself_unless_an_id_is_given(server: Server) -> None:
    own = account(server, server.token)
    for user in (own["id"], own["attributes"]["email"]):
        made = terrapod(server, "tokens", "create", "--user", user)
        assert account(server, made.out)["id"] == own["id"]
    refused = terrapod(server, "tokens", "create", "--user", "else@example.com").refusal
    assert refused.startswith("else@example.com is not your own account")
    missing = terrapod(server, "tokens", "create", "--user", "user-1111111111111111").refusal
    assert missing.startswith("404: ")


@pytest.mark.parametrize("zipped", [False, True], ids=["executable", "archive"])
def test_what_is_imported_is_listed(
    server: Server, tmp_path: Path, name: str, *, zipped: bool
) -> None:
    program = PROGRAM + name.encode()
    file = tmp_path / "release"
    if zipped:
        with zipfile.ZipFile(file, "w") as release:
            release.writestr("tofu", program)
    else:
        file.write_bytes(program)
    version = f"1.0.0-{name}"
    where = ["--tool", "tofu", "--version", version, "--os", "linux", "--arch", "arm64"]
    done = terrapod(server, "cache", "import", file, *where)
    assert done.code == 0, done.err
    digest = hashlib.sha256(program).hexdigest()
    assert done.out == f"tofu {version} linux arm64  sha256:{digest}"
    line = f"tofu {version} linux arm64  {len(program)} bytes  sha256:{digest}"
    assert line in terrapod(server, "cache", "list").out.splitlines()


def test_an_executable_is_asked_for_its_version(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "tofu"
    file.write_text('#!/bin/sh\necho \'{"terraform_version": "0.0.1-asked"}\'\n')
    file.chmod(0o755)
    done = terrapod(server, "cache", "import", file, "--tool", "tofu")
    assert done.out.startswith("tofu 0.0.1-asked "), done.err
    file.write_bytes(PROGRAM)
    silent = terrapod(server, "cache", "import", file, "--tool", "tofu").refusal
    assert silent == f"{file} doesn't tell its version: use --version."


def test_what_is_no_release_is_not_imported(server: Server, tmp_path: Path, name: str) -> None:
    file = tmp_path / "release.zip"
    with zipfile.ZipFile(file, "w") as release:
        release.writestr("LICENSE.txt", "text")
    version = f"1.0.0-{name}"
    refused = terrapod(server, "cache", "import", file, "--tool", "tofu", "--version", version)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.splitlines()[-1].startswith("422: ")
    assert version not in terrapod(server, "cache", "list").out
    assert terrapod(server, "cache", "import", tmp_path / "absent").code == 2


def test_workspaces_are_listed_with_their_locks(server: Server, workspace: str, name: str) -> None:
    assert f"{workspace}  {name}" in terrapod(server, "workspaces", "list").out.splitlines()
    server.api("POST", f"workspaces/{workspace}/actions/lock", {})
    listed = terrapod(server, "workspaces", "list").out.splitlines()
    assert f"{workspace}  {name}  locked" in listed


@pytest.mark.parametrize("command", ["adopt", "clear"])
@pytest.mark.usefixtures("workspace")
def test_without_a_hold_there_is_nothing_to_end(server: Server, name: str, command: str) -> None:
    assert terrapod(server, "workspaces", command, name).refusal == f"{name} is not on hold."
    unknown = terrapod(server, "workspaces", command, f"{name}-x").refusal
    assert unknown.startswith("404: ")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_wrong_address_is_told(server: Server, command: tuple[str, ...]) -> None:
    url = "https://localhost:1"
    said = terrapod(server, *command, "--url", url, "--token", server.token).refusal
    assert said.startswith(f"{url} can't be reached: ")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_wrong_token_is_told(server: Server, command: tuple[str, ...]) -> None:
    said = terrapod(server, *command, "--token", "a-wrong-token").refusal
    assert said.startswith("401: ")
    assert "a-wrong-token" not in said


@pytest.mark.parametrize("url", ["nonsense", "http://localhost:{port}", "https://localhost:port"])
def test_an_address_of_another_kind_is_told(server: Server, url: str) -> None:
    given = ["--url", url.format(port=server.port), "--token", server.token]
    said = terrapod(server, "pools", "list", *given, "--ca-file", server.ca).refusal
    assert "can't be reached" in said
    assert server.token not in said


def test_a_server_that_is_not_trusted_gets_no_token(server: Server, tmp_path: Path) -> None:
    said = elsewhere(tmp_path, "pools", "list", "--url", server.url, "--token", "x").refusal
    assert "CERTIFICATE_VERIFY_FAILED" in said
    missing = ["--url", server.url, "--token", "x", "--ca-file", str(tmp_path / "absent.pem")]
    assert "is no usable CA file" in elsewhere(tmp_path, "pools", "list", *missing).refusal


def test_the_local_token_goes_to_no_other_server(server: Server) -> None:
    said = terrapod(server, "pools", "list", "--url", server.url).refusal
    assert said == "There is no token: set TERRAPOD_TOKEN or use --token."


def test_the_status_of_a_running_agent(agent: Agent) -> None:
    def well() -> Ran | None:
        asked = on_agent(agent.folder / "data", "status")
        return asked if asked.code == 0 else None

    lines = until(well, "the agent is well").out.splitlines()
    told = dict(line.split(maxsplit=1) for line in lines if not line.startswith(" "))
    assert told["agent"] == "main"
    assert told["server"] == f"https://localhost:{agent.server.agent_port}"
    assert told["connected"] == "yes"
    assert told["slots"].split(" of ")[1].startswith("2 busy, taking work")


def test_where_no_agent_runs_there_is_no_status(
    server: Server, new_agent: NewAgent, tmp_path: Path, name: str
) -> None:
    nothing = on_agent(tmp_path / "nothing", "status").refusal
    assert nothing == "terrapod-agent: no agent is running here"
    terrapod(server, "pools", "create", name)
    killed = new_agent(name, name)
    until(lambda: on_agent(killed.folder / "data", "status").code == 0, "the agent is well")
    killed.kill()
    assert on_agent(killed.folder / "data", "status").refusal == nothing


def test_an_agent_tells_its_version(tmp_path: Path) -> None:
    told = on_agent(tmp_path, "version")
    assert (told.code, told.out, told.err) == (0, VERSION, "")


def test_variables_are_set_changed_and_listed(server: Server) -> None:
    body = {"data": {"type": "workspaces", "attributes": {"name": "with-variables"}}}
    server.api("POST", "organizations/default/workspaces", body)
    put = ("variables", "set", "with-variables")
    assert terrapod(server, *put, "size=small").out == "with-variables: size is set"
    assert terrapod(server, *put, "size=large").out == "with-variables: size is changed"
    secret = terrapod(server, *put, "AWS_KEY", "--sensitive", "--env", say="hush\n")
    assert (secret.code, "hush" in secret.out) == (0, False)
    listed = terrapod(server, "variables", "list", "with-variables").out
    assert listed.splitlines() == ["env  AWS_KEY = (sensitive)", "terraform  size = large"]
    assert terrapod(server, *put, "AWS_KEY=hushed", "--env").code == 0
    again = terrapod(server, "variables", "list", "with-variables").out
    assert again.splitlines() == listed.splitlines(), "it is sensitive still"
    assert "no space" in terrapod(server, *put, "a b=1", "--env").refusal
    assert "Give KEY=VALUE" in terrapod(server, *put, "=3").refusal
    gone = ("variables", "unset", "with-variables", "size")
    assert terrapod(server, *gone).out == "with-variables: size is gone"
    assert "no such variable" in terrapod(server, *gone).refusal


def test_the_settings_file_that_the_environment_names_counts(
    server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "terrapod.toml"
    file.write_text(f'data_dir = "{server.data}"\n')
    listed = ran("terrapod", "pools", "list", TERRAPOD_SETTINGS=str(file), HOME=str(tmp_path))
    assert "main" in listed.out
