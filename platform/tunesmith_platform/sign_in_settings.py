"""The settings of signing in with an identity provider (OpenID Connect). Part of `Settings`; knows no request."""

from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from tunesmith.access import Role
from tunesmith_platform.secret_settings import SecretSettings
from tunesmith_platform.web_settings import LOOPBACK

EVERYBODY = "*"
"""Stands in `oidc_roles` and `oidc_projects` for whoever the provider lets in; as a project, for all of them."""


class SignInSettings(SecretSettings):
    """Which provider says who somebody is, and what they may do here for what it says."""

    model_config = SettingsConfigDict(env_prefix="TUNESMITH_", hide_input_in_errors=True)

    oidc_issuer: str = Field(
        "",
        description="The issuer of an OpenID Connect provider, exactly as its discovery document names it; empty: the "
        "studio takes keys and links alone. The provider sends browsers back to "
        "`<public_url>/v1/sign-in/oidc/callback`.",
    )
    oidc_client_id: str = Field("", description="What the provider calls this platform.")
    oidc_client_secret: SecretStr = Field(
        SecretStr(""), description="Its secret there; empty for a public client, which PKCE alone protects."
    )
    oidc_name: str = Field(
        "",
        max_length=40,
        description="What the sign-in's button calls the provider; its host's name when empty.",
    )
    oidc_scopes: list[str] = Field(
        default_factory=lambda: ["openid", "profile", "email"],
        description="What the provider is asked for: a JSON list; some need one more to tell groups.",
    )
    oidc_name_claim: str = Field(
        "email",
        min_length=1,
        description="The claim of the ID token that people are called by here, and that owns what they make: one that "
        "they cannot change themselves. `email` counts where the provider says that it is verified.",
    )
    oidc_groups_claim: str = Field(
        "groups",
        min_length=1,
        description="The claim that lists a person's groups; `realm_access.roles` is `roles` within `realm_access`.",
    )
    oidc_roles: dict[str, Role] = Field(
        default_factory=dict,
        description='The role of each group: a JSON object such as `{"ml": "member", "*": "viewer"}`; the highest '
        "counts, `*` is everybody, and whoever has none stays out.",
    )
    oidc_projects: dict[str, list[str]] = Field(
        default_factory=dict,
        description='The projects of each group: a JSON object such as `{"ml": ["search"], "*": ["default"]}`; '
        '`["*"]` is every project. An administrator works in all.',
    )
    oidc_session_hours: float = Field(
        12,
        gt=0,
        le=8760,
        description="How long a browser that came in so stays signed in: until then nobody hears of a change there.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.oidc_issuer:
            return self
        if not is_safe_address(self.oidc_issuer):
            raise ValueError("`oidc_issuer` begins with https://, or is on this machine.")
        if not self.oidc_client_id:
            raise ValueError("`oidc_issuer` needs `oidc_client_id`.")
        if not self.oidc_roles:
            raise ValueError("`oidc_issuer` needs `oidc_roles`: nobody could come in.")
        if "openid" not in self.oidc_scopes:
            raise ValueError("`oidc_scopes` holds `openid`: without it no provider says who somebody is.")
        return self


def is_safe_address(address: str) -> bool:
    """Whether what is sent to an address is read by nobody on the way: it is https, or does not leave this machine."""
    found = urlsplit(address)
    is_kept = found.scheme == "https" or (found.scheme == "http" and found.hostname in LOOPBACK)
    return is_kept and bool(found.hostname) and not found.fragment and "@" not in found.netloc
