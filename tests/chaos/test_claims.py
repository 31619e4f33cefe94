"""Simulated claims against the real service and PostgreSQL: who may do what to which phase."""

import random

import pytest

from tests.chaos.claims import Simulation
from tests.kit.control import Control

pytestmark = pytest.mark.anyio


@pytest.mark.short
@pytest.mark.timeout(240)
async def test_a_thousand_claims(control: Control) -> None:
    await Simulation(control, random.Random(1)).run(claims=1000)


@pytest.mark.timeout(7200)
async def test_many_claims(control: Control, request: pytest.FixtureRequest) -> None:
    seed = request.config.getoption("--seed")
    seed = random.randrange(2**32) if seed is None else seed
    print(f"seed {seed}")
    await Simulation(control, random.Random(seed)).run(claims=request.config.getoption("--claims"))
