"""Routes are made when they are first asked for: a start makes none, and no request makes another's."""

from typing import Any

import pytest
from conftest_platform import Plane
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from tunesmith_platform.routing import ApiRoute, serve


def made(app: FastAPI) -> list[str]:
    return [route.name for route in app.routes if isinstance(route, ApiRoute) and "dependant" in vars(route)]


def test_a_start_and_a_look_at_its_health_make_no_other_route(plane: Plane) -> None:
    assert made(plane.app) == []
    with TestClient(plane.app) as api:
        assert api.get("/healthz").status_code == 200
        assert len(made(plane.app)) == 1
        assert (
            api.post("/healthz").status_code == 405
        )  # of the method that is not served nothing is made either
        assert api.get("/v1/nothing").status_code == 404
    assert len(made(plane.app)) == 1


def test_every_route_can_be_made(plane: Plane) -> None:
    """A mistake in an endpoint shows here: a start does not see it."""
    for route in plane.app.routes:
        if isinstance(route, ApiRoute):
            assert route.dependant is not None
            assert route.unique_id == route.name


def test_a_mistake_in_an_endpoint_is_said_each_time() -> None:
    router = APIRouter(route_class=ApiRoute)

    @router.get("/odd")
    def odd(what: object()) -> Any:  # type: ignore[valid-type]
        return what

    app = FastAPI()
    serve(app, router, "/v1")
    route = next(route for route in app.routes if isinstance(route, ApiRoute))
    for _ in range(2):
        with pytest.raises(Exception, match="object"):
            _ = route.dependant
