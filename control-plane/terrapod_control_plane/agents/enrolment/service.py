"""Join and renewal: a key that never leaves the agent, a certificate that does not live long."""

from base64 import b64decode
from datetime import timedelta

from cryptography import x509

from terrapod_common import wire
from terrapod_common.agent_protocol import Code
from terrapod_control_plane.agents import queries
from terrapod_control_plane.agents.actions import LISTENER_ACT
from terrapod_control_plane.agents.events import CertificateRenewed, ListenerJoined
from terrapod_control_plane.agents.model import Certificate, Listener, checked_name
from terrapod_control_plane.identity import internal as identity
from terrapod_control_plane.kernel import db, ids
from terrapod_control_plane.kernel.context import Context, system
from terrapod_control_plane.kernel.crypto import authority, keys
from terrapod_control_plane.kernel.errors import Forbidden, NotFound, Unauthorized, Unprocessable
from terrapod_control_plane.runs.phases.leases import internal as leases

_NONCE_SECONDS = 120.0


def _lifetime(ctx: Context) -> timedelta:
    return timedelta(hours=ctx.settings.agents.certificate_hours)


async def join(ctx: Context, asked: wire.Join, pool: str | None = None) -> wire.Joined:
    """An identity for whoever has a join token, which is the credential.

    A name that lives already is taken over: its certificates are revoked, its phases lost.
    """
    ctx.public("the join token in the body is the credential")
    name = checked_name(asked.name)
    async with db.transaction():
        token = await identity.use_join_token(ctx, asked.join_token)
        if pool is not None and token.subject_id != pool:
            raise Unauthorized("This join token is not of that pool.", code=Code.JOINING)
        await queries.lock_pool(token.subject_id)  # two who come with the same name at once
        before = await queries.named(token.subject_id, name)
        id_ = before.id if before else ids.new("listener")
        certificate, key = _issued(ctx, asked, id_)
        new = Listener(
            id=id_,
            pool_id=token.subject_id,
            name=name,
            public_key=authority.public_key_pem(certificate).decode(),
            version=asked.version[:100],
            created_at=ctx.now(),
        )
        await _enrol(ctx, new, again=before is not None)
        await _remember(ctx, id_, certificate)
    if before is not None:
        await leases.settle(system(ctx.services), id_)
    return wire.Joined(
        listener_id=id_,
        pool_id=token.subject_id,
        certificate=certificate.decode(),
        ca_certificate=ctx.services.authority.cert_pem.decode(),
        agent_url=ctx.settings.agent_url,
        renew_after_seconds=_lifetime(ctx).total_seconds() / 3,
        private_key=key.decode() if key else None,
    )


def _issued(ctx: Context, asked: wire.Join, id_: str) -> tuple[bytes, bytes | None]:
    if asked.csr is not None:
        return _signed(ctx, asked.csr, id_), None
    made = ctx.services.authority.issue_client_key(id_, ctx.now(), _lifetime(ctx))
    return made.cert_pem, made.key_pem


async def _enrol(ctx: Context, listener: Listener, *, again: bool) -> None:
    if again:
        await queries.revoke_certificates(listener.id, ctx.now())
        await leases.let_go(ctx, listener.id)
        await queries.rejoined(listener.id, listener.public_key, listener.version)
    else:
        await queries.insert_listener(listener)
    await ctx.emit(
        ListenerJoined(listener=listener.id, pool=listener.pool_id, name=listener.name, again=again)
    )


def _signed(ctx: Context, csr: str, id_: str) -> bytes:
    try:
        return ctx.services.authority.issue_client(csr.encode(), id_, ctx.now(), _lifetime(ctx))
    except authority.BadRequestCertificate as error:
        raise Unprocessable(f"The certificate request is not acceptable: {error}") from None


async def _remember(ctx: Context, listener: str, certificate: bytes) -> str:
    der = authority.certificate_der(certificate)
    not_after = x509.load_der_x509_certificate(der).not_valid_after_utc
    fingerprint = authority.fingerprint(der)
    await queries.insert_certificate(
        Certificate(fingerprint=fingerprint, listener_id=listener, not_after=not_after)
    )
    return fingerprint


async def nonce(ctx: Context, listener: str) -> wire.Nonce:
    """Something to sign for a listener whose certificate has ended."""
    ctx.public("what it gives is worth nothing without the recorded key")
    if await queries.listener(listener) is None:
        raise NotFound(f"There is no {listener}.", code=Code.UNKNOWN_LISTENER)
    fresh = keys.new_token("nonce")
    await ctx.services.ephemeral.set(f"nonce:{fresh}", listener.encode(), _NONCE_SECONDS)
    return wire.Nonce(nonce=fresh)


async def renew(ctx: Context, listener_id: str, asked: wire.Renew) -> wire.Renewed:
    """The next certificate, for the recorded key only; the one before stays valid."""
    ctx.public("on the public port the signature in the body is the credential")
    if ctx.agent_plane:
        await ctx.must(LISTENER_ACT, listener_id)
    listener = await queries.listener(listener_id)
    if listener is None or listener.revoked_at is not None:
        told = "There is no such listener, or it was revoked."
        raise Unauthorized(told, code=Code.UNKNOWN_LISTENER)
    if not ctx.agent_plane:
        await _prove(ctx, listener, asked)
    certificate = _signed(ctx, asked.csr, listener_id)
    async with db.transaction():
        now = await queries.locked_listener(listener_id)
        if now is None or now.revoked_at is not None or now.public_key != listener.public_key:
            told = "The name was taken over, or the listener was revoked."
            raise Unauthorized(told, code=Code.UNKNOWN_LISTENER)
        if authority.public_key_pem(certificate).decode() != now.public_key:
            told = "The request is not for the recorded key; to change it, join again."
            raise Forbidden(told, code=Code.OTHER_KEY)
        fingerprint = await _remember(ctx, listener_id, certificate)
        await ctx.emit(CertificateRenewed(listener=listener_id, fingerprint=fingerprint))
    return wire.Renewed(
        certificate=certificate.decode(),
        ca_certificate=ctx.services.authority.cert_pem.decode(),
        renew_after_seconds=_lifetime(ctx).total_seconds() / 3,
    )


async def _prove(ctx: Context, listener: Listener, asked: wire.Renew) -> None:
    """The caller on the public port has the recorded key, and its certificate ended lately."""
    newest = await queries.newest_certificate(listener.id)
    days = ctx.settings.agents.renew_after_expiry_days
    if newest is None or ctx.now() > newest.not_after + timedelta(days=days):
        told = "The certificate ended too long ago: join again with a token."
        raise Forbidden(told, code=Code.ENDED_LONG_AGO)
    given = await ctx.services.ephemeral.take(f"nonce:{asked.nonce}") if asked.nonce else None
    if given != listener.id.encode():
        told = "Ask for a nonce first; it counts once, for two minutes."
        raise Unauthorized(told, code=Code.NONCE)
    try:
        signature = b64decode(asked.signature or "", validate=True)
    except ValueError:  # no base64, or letters that no encoding of it has
        signature = b""
    message = f"{asked.nonce}\n{asked.csr}".encode()
    if not authority.signed_by(listener.public_key.encode(), signature, message):
        told = "The signature is not by the key of this listener."
        raise Unauthorized(told, code=Code.SIGNATURE)
