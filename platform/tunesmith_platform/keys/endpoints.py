"""Keys over HTTP."""

from typing import Annotated, Protocol

from fastapi import APIRouter, Depends, Path, Response, status

from tunesmith import views
from tunesmith.access import KeyView, MadeKey, NewKey
from tunesmith_platform import examples
from tunesmith_platform.http import After, IdentityDep, Limit, answers, services_of
from tunesmith_platform.keys.service import KeyService
from tunesmith_platform.routing import ApiRoute

router = APIRouter(tags=["access"], route_class=ApiRoute)


class Services(Protocol):
    """The parts that these endpoints ask."""

    key_service: KeyService


ServicesDep = Annotated[Services, Depends(services_of)]
KeyId = Annotated[str, Path(description="The key's id.", min_length=1, max_length=40)]


@router.get("/keys", response_model=views.Page[KeyView], responses=answers(examples.KEYS, 401, 422))
def list_keys(
    services: ServicesDep, identity: IdentityDep, after: After = None, limit: Limit = 100
) -> views.Page[KeyView]:
    """List keys, the newest first: everybody's for an administrator, else one's own. Secrets are kept nowhere."""
    return services.key_service.page(identity, after, limit)


@router.post(
    "/keys",
    response_model=MadeKey,
    status_code=status.HTTP_201_CREATED,
    responses=answers(examples.MADE_KEY, 401, 403, 422, status=201),
)
def make_key(
    new: Annotated[NewKey, examples.new_key_body()],
    response: Response,
    services: ServicesDep,
    identity: IdentityDep,
) -> MadeKey:
    """Make a key. Its secret is in this answer alone. Who is no administrator makes keys for itself."""
    response.headers["Cache-Control"] = "no-store"
    return services.key_service.make(identity, new)


@router.delete(
    "/keys/{key_id}", response_model=KeyView, responses=answers(examples.KEYS.data[0], 401, 404, 409, 422)
)
def revoke_key(key_id: KeyId, services: ServicesDep, identity: IdentityDep) -> KeyView:
    """Let a key count no more, with the browsers signed in with it; other servers know it within 10 seconds."""
    return services.key_service.revoke(identity, key_id)
