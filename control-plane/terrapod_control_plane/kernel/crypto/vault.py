"""Secrets of the installation, sealed in the database: made once, the same for every replica."""

from collections.abc import Callable

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.crypto.keys import KeyRing


async def holds_any() -> bool:
    """Whether anything was ever sealed here, so that a lost key ring is noticed."""
    return bool(await db.value("select exists (select from secrets)"))


async def secret(name: str, ring: KeyRing, make: Callable[[], bytes]) -> bytes:
    """The secret of that name; made and stored by whoever asks first."""
    async with db.transaction():
        # Serialises replicas at their first start: one makes it, the others find it.
        await db.execute("lock table secrets in exclusive mode")
        sealed = await db.value("select sealed from secrets where name = $1", name)
        if sealed is not None:
            return ring.open(sealed, f"secret:{name}")
        plain = make()
        await db.execute(
            "insert into secrets values ($1, $2)", name, ring.seal(plain, f"secret:{name}")
        )
        return plain
