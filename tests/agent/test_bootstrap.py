"""What an agent's process looks like from outside, and what it does as the first of a container."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from terrapod_agent.executors import kernel
from tests.kit.agent_server import AgentServer
from tests.kit.agents import AgentProcess, phase
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio

# Up to the agent, all of which a run without isolation may read; what is told is not what is read.
ANCESTORS = """
seen, pid, own = [], os.getpid(), False
while not own:
    entries = pathlib.Path(f"/proc/{pid}/environ").read_text(errors="replace")
    own = "TERRAPOD_AGENT_URL=" in entries
    seen.append([pid, own, "a-join-token" in entries or "JOIN_TOKEN" in entries])
    pid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
print("seen:", json.dumps(seen), flush=True)
"""


async def test_a_join_token_is_not_in_the_environment_of_the_agent(
    server: AgentServer, process: AgentProcess, tmp_path: Path
) -> None:
    plan = server.add(phase("plan", script(plan=[["wait", f"{tmp_path}/go"]])))
    process.start()
    await server.until(lambda: plan.status == "planning")
    seen = kernel.read(f"/proc/{process.pid}/environ")
    assert "TERRAPOD_AGENT_URL=" in seen
    assert "a-join-token" not in seen
    assert "TERRAPOD_AGENT_JOIN_TOKEN" not in seen
    (tmp_path / "go").touch()
    await server.until(lambda: plan.ended)


async def test_a_run_does_not_find_a_join_token_in_what_it_descends_from(
    server: AgentServer, process: AgentProcess
) -> None:
    plan = server.add(phase("plan", script(plan=[["python", ANCESTORS]])))
    process.start()
    await server.until(lambda: plan.ended)
    [line] = [line for line in plan.text.splitlines() if line.startswith("seen: ")]
    *below, agent = json.loads(line.removeprefix("seen: "))
    assert agent == [process.pid, True, False]
    assert len(below) == 2  # terraform and its shim
    assert not any(token for _, _, token in below)


def test_other_processes_of_its_user_cannot_look_into_the_agent() -> None:
    """One child is prepared as an agent is, another is not; a third of the same user looks."""
    look = (
        "import os, sys, time\n"
        "from terrapod_agent import bootstrap\n"
        "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "def child(hidden):\n"
        "    pid = os.fork()\n"
        "    if not pid:\n"
        "        bootstrap.set_dumpable(yes=not hidden); time.sleep(20); os._exit(0)\n"
        "    return pid\n"
        "hidden, plain = child(True), child(False)\n"
        "time.sleep(0.3)\n"
        "open(f'/proc/{plain}/environ').read()\n"
        "try:\n"
        "    open(f'/proc/{hidden}/environ').read()\n"
        "except PermissionError:\n"
        "    print('refused')\n"
        "os.kill(hidden, 9); os.kill(plain, 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=False)
    assert done.stdout == "refused\n", done.stderr


def test_as_process_one_it_reaps_what_nobody_waits_for() -> None:
    """A stand-in for the agent leaves an orphan; nothing of it may stay as a zombie."""
    agent = (
        "import os, subprocess, sys, time, json, signal\n"
        "from terrapod_agent import bootstrap\n"
        "bootstrap.harden_process()\n"
        "subprocess.run(['sh', '-c', 'sleep 0.1 & sleep 0.1 & true'])\n"
        "time.sleep(0.6)\n"
        "states = [open(f'/proc/{p}/stat').read().rpartition(')')[2].split()[0]"
        " for p in os.listdir('/proc') if p.isdigit()]\n"
        "print(json.dumps({'pid': os.getpid(), 'states': states}), flush=True)\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "os.kill(1, signal.SIGTERM)\n"
        "time.sleep(20)\n"
    )
    inside = ["unshare", "--pid", "--fork", "--mount-proc", "--", sys.executable, "-c", agent]
    done = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=30)
    said = json.loads(done.stdout)
    assert said["pid"] != 1
    assert "Z" not in said["states"]
    assert done.returncode == 7, done.stderr  # the signal reached the agent, its code came back
