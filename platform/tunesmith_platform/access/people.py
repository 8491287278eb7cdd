"""Who somebody is here, of what a provider says of them. Pure: knows claims and settings."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from tunesmith.access import PersonName, Role, SignInFailure
from tunesmith_platform.access.provider import SignInRefused, claim_of
from tunesmith_platform.scope import PLATFORM
from tunesmith_platform.sign_in_settings import EVERYBODY, SignInSettings

_NAME: TypeAdapter[str] = TypeAdapter(PersonName)


class Person(NamedTuple):
    """Who came in."""

    subject: str
    """What the provider calls them, as a hash: names change, this does not."""
    name: str
    role: Role
    projects: frozenset[str] | None
    """Where they work; None: everywhere."""


def person_of(claims: Mapping[str, Any], settings: SignInSettings) -> Person:
    """The person that checked claims tell of.

    Raises:
        SignInRefused: They have no name that can be theirs, or no role here.
    """
    subject = hashlib.sha256(f"{claims['iss']}\0{claims['sub']}".encode()).hexdigest()
    name = _name(claims, settings.oidc_name_claim)
    groups = {EVERYBODY, *_groups(claims, settings.oidc_groups_claim)}
    roles = [role for group, role in settings.oidc_roles.items() if group in groups]
    if not roles:
        raise SignInRefused(SignInFailure.NO_ROLE, f"`{name}` is in no group of `oidc_roles`")
    role = max(roles, key=lambda one: one.rank)
    projects = {
        project for group, listed in settings.oidc_projects.items() if group in groups for project in listed
    }
    is_everywhere = role is Role.ADMIN or EVERYBODY in projects
    return Person(subject, name, role, None if is_everywhere else frozenset(projects))


def _name(claims: Mapping[str, Any], claim: str) -> str:
    found = claim_of(claims, claim)
    try:
        name = _NAME.validate_python(found, strict=True)
    except ValidationError:
        raise SignInRefused(SignInFailure.NO_NAME, f"the claim `{claim}` is no name") from None
    if claim == "email" and claims.get("email_verified") is not True:
        raise SignInRefused(SignInFailure.NO_NAME, "the provider has not verified this `email`")
    if name == PLATFORM:
        raise SignInRefused(SignInFailure.NO_NAME, f"`{PLATFORM}` is the platform's own name")
    return name


def _groups(claims: Mapping[str, Any], claim: str) -> set[str]:
    found = claim_of(claims, claim)
    listed = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    # Nobody is everybody because a group is called so.
    return {one for one in listed if isinstance(one, str) and one != EVERYBODY}
