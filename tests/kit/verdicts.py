"""Rows of the table of who may do what: the verdicts that several actions have in common."""

from collections.abc import Mapping

from terrapod_control_plane.kernel.policy import Verdict

A, F, U = Verdict.ALLOWED, Verdict.FORBIDDEN, Verdict.UNSEEN

Row = Mapping[str, Verdict]

# On a workspace of the owner.
READ = {"nobody": U, "stranger": U, "owner": A, "audit": A, "admin": A, "listener": U, "foreign": U}
WRITE = READ | {"audit": F}
# On the platform.
PERSON = {
    "nobody": F, "stranger": A, "owner": A, "audit": A, "admin": A, "listener": F, "foreign": F,
}  # fmt: skip
ADMIN = PERSON | {"stranger": F, "owner": F, "audit": F}
AUDIT = ADMIN | {"audit": A}
# On a listener, and on a user.
OWN = dict.fromkeys(READ, U) | {"listener": A}
USER = {"nobody": U, "stranger": U, "owner": A, "audit": A, "admin": A, "listener": U, "foreign": U}
