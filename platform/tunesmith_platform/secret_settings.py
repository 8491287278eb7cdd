"""Settings that are secrets: each may lie in a file too, which the variable with `_FILE` at its end names.

Part of `Settings`; knows no setting of its own.
"""

from typing import Any, Self

from pydantic import SecretStr, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from tunesmith.secret_values import has_user, named

_PRIVATE_ADDRESS = "database_url"
"""An address that holds a password, and is shown to nobody."""
_SHOWN = (
    "api_url",
    "public_url",
    "ray_url",
    "mlflow_url",
    "mlflow_public_url",
    "storage_uri",
    "allowed_uris",
)
"""Addresses that users see."""


def secrets_of(kind: type[BaseSettings]) -> tuple[str, ...]:
    """The names of a class's settings that are secrets."""
    fields = kind.model_fields.items()
    return tuple(name for name, field in fields if field.annotation is SecretStr or name == _PRIVATE_ADDRESS)


class _Files(PydanticBaseSettingsSource):
    """Takes what a file holds where a setting is not set itself."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """See `PydanticBaseSettingsSource.get_field_value`."""
        return named(f"TUNESMITH_{field_name.upper()}") or None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """See `PydanticBaseSettingsSource.__call__`."""
        found = {name: named(f"TUNESMITH_{name.upper()}") for name in secrets_of(self.settings_cls)}
        return {name: value for name, value in found.items() if value}


class SecretSettings(BaseSettings):
    """What reads its secrets from files too, and takes no secret where others see it."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given, then the environment, then the files that it names."""
        return init_settings, env_settings, _Files(settings_cls)

    @model_validator(mode="after")
    def _shows_no_password(self) -> Self:
        for name in _SHOWN:
            given = getattr(self, name, "")
            if any(has_user(url) for url in ([given] if isinstance(given, str) else given)):
                raise ValueError(f"`{name}` holds no user and no password: it is shown to users, and logged.")
        return self
