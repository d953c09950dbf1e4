"""The environment, read once at the door of a process.

`TRUEUP_*` variables come first, then secrets in files named by `TRUEUP_*_FILE`, then the TOML file named by `TRUEUP_CONFIG`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pydantic_settings
from pydantic import Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "TRUEUP_"
ROOM_TABLES = ("ingest", "dedupe", "stripe_sink", "reconciler", "usage_view")


class SettingsError(ValueError):
    """The configuration cannot be used; the text says which variable and why."""


class _SecretFiles(PydanticBaseSettingsSource):
    """Values whose `TRUEUP_X_FILE` names a file: the form in which orchestrators hand out secrets."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = f"{PREFIX}{field_name.upper()}"
        path = os.environ.get(f"{variable}_FILE")
        if path is None:
            return None, field_name, False
        if variable in os.environ:
            raise SettingsError(f"both {variable} and {variable}_FILE are set; which one is meant?")
        return _content(path, f"{variable}_FILE").strip(), field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


class _ConfigFile(PydanticBaseSettingsSource):
    """The TOML file: its top level is for everyone, a table with a room's name for that room alone."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        path = os.environ.get(f"{PREFIX}CONFIG")
        if path is None:
            return {}
        try:
            content = tomllib.loads(_content(path, f"{PREFIX}CONFIG"))
        except tomllib.TOMLDecodeError as fault:
            raise SettingsError(f"{path}: {fault}") from fault
        shared = {key: value for key, value in content.items() if key not in ROOM_TABLES}
        table = getattr(self.settings_cls, "table", None)
        own: dict[str, Any] = content.get(table, {}) if table else {}
        unknown = sorted((shared | own).keys() - self.settings_cls.model_fields.keys())
        if unknown:
            raise SettingsError(f"{path}: {', '.join(unknown)} is no setting of ours")
        return shared | own


def _content(path: str, variable: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as fault:
        raise SettingsError(f"{variable} names {path}, which cannot be read: {fault}") from fault


class StreetSettings(BaseSettings):
    """What every room may need; a room's own `config.py` extends it with what only that room reads."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    table: ClassVar[str | None] = None  # the room's own table in the TOML file

    kafka_bootstrap: str = ""
    kafka: dict[str, str] = Field(default_factory=dict, repr=False)  # librdkafka settings, passed through
    postgres_dsn: str = Field(default="", repr=False)
    stripe_url: str | None = None  # None is the real Stripe
    stripe_api_key: str = Field(default="", repr=False)
    topic_prefix: str = ""
    clock: str = "system"
    room: str = ""  # the process's name, such as dedupe-1
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=0, ge=0, le=65_535)  # 0 takes any free port
    partitions: int = Field(default=12, ge=1)
    confluent_schema_ids: dict[int, str] = Field(default_factory=dict)  # registry id → our schema, such as {"1": "usage_event"}

    @field_validator("clock", mode="after")
    @classmethod
    def _clock_is_known(cls, given: str) -> str:
        if given != "system" and not given.startswith("simulated:"):
            raise ValueError(f"the clock is 'system' or 'simulated:FILE', not {given!r}")
        return given

    @field_validator("postgres_dsn", mode="after")
    @classmethod
    def _dsn_is_one(cls, given: str) -> str:
        """It holds a password, so the text does not repeat it."""
        if given and "://" not in given and "=" not in given:
            raise ValueError("this is neither an address (postgresql://…) nor words of the form key=value")
        return given

    @field_validator("kafka", mode="before")
    @classmethod
    def _from_files(cls, given: Any) -> Any:
        """`TRUEUP_KAFKA__SASL_PASSWORD_FILE` names a file with the value; a name with dots, as in TOML, is librdkafka's own."""
        if not isinstance(given, dict):
            return given
        read = dict(given)
        for key in [key for key in given if key.lower().endswith("_file") and "." not in key]:
            plain, variable = key[: -len("_file")], f"{PREFIX}KAFKA__{key.upper()}"
            if plain in read:
                raise ValueError(f"both {variable.removesuffix('_FILE')} and {variable} are set; which one is meant?")
            read[plain] = _content(read.pop(key), variable).strip()
        return read

    @field_validator("kafka", mode="after")
    @classmethod
    def _dotted(cls, given: dict[str, str]) -> dict[str, str]:
        """A shell variable cannot hold a dot: `TRUEUP_KAFKA__SECURITY_PROTOCOL` means `security.protocol`."""
        dotted = {key.lower().replace("_", "."): value for key, value in given.items()}
        # librdkafka's only setting of ours whose name has an underscore of its own.
        return {"log_level" if key == "log.level" else key: value for key, value in dotted.items()}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is said in code wins, then the environment, then secret files, then the TOML file."""
        return init_settings, env_settings, _SecretFiles(settings_cls), _ConfigFile(settings_cls)

    def require(self, *names: str) -> None:
        """Refuses to go on without these, naming all missing variables at once."""
        missing = [f"{PREFIX}{name.upper()}" for name in names if not getattr(self, name)]
        if missing:
            raise SettingsError(f"{self.room or 'this command'} needs {', '.join(missing)} (see deploy/env.example)")

    def redacted(self) -> Mapping[str, object]:
        """What is in force, fit to be shown: keys and passwords are replaced."""
        shown: dict[str, object] = {name: getattr(self, name) for name in type(self).model_fields}
        shown["kafka"] = {key: _hidden(key, value) for key, value in self.kafka.items()}
        shown["postgres_dsn"] = re.sub(r"(//[^:/@]*:)[^@]*@", r"\1***@", self.postgres_dsn)
        # As libpq reads it: blanks around the sign, and anything at all within quotes.
        shown["postgres_dsn"] = re.sub(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]+)", r"\1***", str(shown["postgres_dsn"]))
        shown["stripe_api_key"] = f"{self.stripe_api_key[:8]}***" if self.stripe_api_key else ""
        return shown


S = TypeVar("S", bound=StreetSettings)


def from_environment(settings_class: type[S]) -> S:
    """The settings of this process; SettingsError with one sentence about everything that is wrong with them."""
    try:
        return settings_class()
    except ValidationError as fault:
        wrong = "; ".join(f"{PREFIX}{'__'.join(str(part) for part in e['loc']).upper()}: {e['msg']}" for e in fault.errors())
        raise SettingsError(f"the configuration cannot be used: {wrong}") from fault
    except pydantic_settings.SettingsError as fault:
        # A table given as text that is no JSON, say; it names the field, and not the variable.
        raise SettingsError(f"the configuration cannot be used: {fault}") from fault


def _hidden(key: str, value: str) -> str:
    return "***" if any(word in key for word in ("password", "secret", "key", "token", "jaas")) else value
