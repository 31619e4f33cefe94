"""Who may write which state, and what becomes of a version."""

from datetime import datetime

from msgspec.structs import replace

from terrapod_common.agent_protocol import Code
from terrapod_control_plane.kernel.errors import Conflict, Unprocessable
from terrapod_control_plane.states.model import Content, Offer, StateVersion


def may_write(
    offer: Offer, current: StateVersion | None, *, locked_by: str | None, run: str | None
) -> None:
    """Refuse a state that must not be written.

    The holder of the lock writes what they want; on an unlocked workspace a state has to follow
    the current one. Nobody writes beside a run, or beside another's lock.
    """
    if locked_by is not None and locked_by != offer.by:
        raise Conflict(f"The workspace is locked by User {locked_by}.")
    if run is not None:
        raise Conflict(f"The workspace is locked by Run {run}.")
    if current is None or offer.force or is_same(offer, current):
        return
    # `state push -force` of another lineage may come with any serial, and without its force.
    if offer.serial == current.serial and offer.lineage in ("", current.lineage):
        raise Conflict(f"There is another state with the serial {current.serial} already.")
    if locked_by is not None:
        return
    if offer.lineage not in ("", current.lineage):
        raise Conflict(
            f"The lineage {offer.lineage} is not that of the current state, {current.lineage}."
        )
    if offer.serial < current.serial:
        raise Conflict(
            f"The serial {offer.serial} is behind that of the current state, {current.serial}."
        )


def is_same(offer: Offer | StateVersion, version: StateVersion) -> bool:
    """Whether this is the state that is offered."""
    return (offer.serial, offer.md5) == (version.serial, version.md5)


def continues(new: StateVersion, current: StateVersion | None) -> None:
    """Refuse a run's state that does not come after the current one.

    Unprocessable, not a conflict: the writer has not lost its lease, its state is wrong. Serials
    are only compared within a run, where an upload that was late must not undo the next one; a
    person may have announced any serial for the content that they sent.
    """
    if current is None:
        return
    if new.lineage != current.lineage:
        raise Unprocessable(
            f"The lineage {new.lineage} is not that of the current state, {current.lineage}.",
            code=Code.WRONG_STATE,
        )
    if new.run_id == current.run_id and new.serial < current.serial:
        raise Unprocessable(
            f"The serial {new.serial} is behind that of the current state, {current.serial}.",
            code=Code.WRONG_STATE,
        )


def finalized(version: StateVersion, content: Content, now: datetime) -> StateVersion:
    """The version with its content."""
    return replace(
        version,
        status="finalized",
        lineage=content.parsed.lineage,
        md5=content.md5,
        size=content.size,
        terraform_version=content.parsed.terraform_version,
        resource_count=content.parsed.resource_count,
        output_count=content.parsed.output_count,
        finalized_at=now,
    )


def offer(version: StateVersion) -> Offer:
    """What the creator of a version says of it."""
    return Offer(
        by=version.created_by,
        serial=version.serial,
        lineage=version.lineage,
        md5=version.md5,
        force=version.force,
    )
