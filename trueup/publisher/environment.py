"""The publisher's settings from the environment: the same names as the rooms use, without their dependencies."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PASSTHROUGH = "TRUEUP_KAFKA__"
_FILE = "_FILE"
# librdkafka's only text setting whose name has an underscore of its own.
_UNDERSCORED = {"log.level": "log_level"}


class PublisherSettingsError(ValueError):
    """The environment doesn't say how to publish."""


@dataclass(frozen=True, slots=True)
class PublisherSettings:
    """Where to publish: the brokers, librdkafka settings passed through, and the prefix of the topic names."""

    bootstrap: str
    kafka: Mapping[str, str]
    topic_prefix: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "PublisherSettings":
        """Read `TRUEUP_*`, each also as `…_FILE`, over the TOML file that `TRUEUP_CONFIG` names."""
        configured = _configured(environment.get("TRUEUP_CONFIG"))
        kafka = {_librdkafka_name(key): value for key, value in _table(configured, "kafka").items()}
        for name in environment:
            if name.startswith(_PASSTHROUGH):
                variable = name.removesuffix(_FILE)
                kafka[_librdkafka_name(variable[len(_PASSTHROUGH) :])] = _value(environment, variable) or ""
        bootstrap = _value(environment, "TRUEUP_KAFKA_BOOTSTRAP") or str(configured.get("kafka_bootstrap", ""))
        if not bootstrap:
            raise PublisherSettingsError("TRUEUP_KAFKA_BOOTSTRAP is not set: it names the brokers, such as 127.0.0.1:9092")
        prefix = _value(environment, "TRUEUP_TOPIC_PREFIX")
        return cls(bootstrap, kafka, str(configured.get("topic_prefix", "")) if prefix is None else prefix)


def _value(environment: Mapping[str, str], name: str) -> str | None:
    """Give a variable, or the content of the file that the variable with `_FILE` names."""
    path = environment.get(name + _FILE)
    if path is None:
        return environment.get(name)
    if name in environment:
        raise PublisherSettingsError(f"both {name} and {name}{_FILE} are set; which one is meant?")
    return Path(path).read_text(encoding="utf-8").strip()


def _configured(path: str | None) -> Mapping[str, object]:
    return {} if path is None else tomllib.loads(Path(path).read_text(encoding="utf-8"))


def _table(configured: Mapping[str, object], key: str) -> Mapping[str, str]:
    table = configured.get(key, {})
    if not isinstance(table, dict):
        raise PublisherSettingsError(f"{key} in the configuration file must be a table")
    return {name: str(value) for name, value in table.items()}


def _librdkafka_name(name: str) -> str:
    """A shell variable can't hold a dot: `SECURITY_PROTOCOL` means `security.protocol`."""
    dotted = name.lower().replace("_", ".")
    return _UNDERSCORED.get(dotted, dotted)
