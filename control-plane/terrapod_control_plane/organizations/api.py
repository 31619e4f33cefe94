"""Routes of the organization."""

from litestar import get
from litestar.params import FromPath

from terrapod_control_plane.kernel.jsonapi import present
from terrapod_control_plane.organizations import service
from terrapod_control_plane.organizations.schema import EntitlementsDoc, OrganizationDoc
from terrapod_control_plane.web.params import Ctx


@get("/organizations/{organization:str}")
async def show(ctx: Ctx, organization: FromPath[str]) -> OrganizationDoc:
    """The organization."""
    return present(await service.show(ctx, organization), OrganizationDoc)


@get("/organizations/{organization:str}/entitlement-set")
async def entitlements(ctx: Ctx, organization: FromPath[str]) -> EntitlementsDoc:
    """What the organization may use."""
    return EntitlementsDoc(id=(await service.show(ctx, organization)).id)


ROUTES = [show, entitlements]
