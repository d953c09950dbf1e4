"""The publisher's settings: the rooms' names, without the rooms' dependencies."""

from pathlib import Path

import pytest

from trueup.publisher.environment import PublisherSettings, PublisherSettingsError
from trueup.publisher.publisher import Publisher, producer_options

READ = PublisherSettings.from_environment


def test_the_least() -> None:
    """An address is enough."""
    assert READ({"TRUEUP_KAFKA_BOOTSTRAP": "a:1", "OTHER": "x"}) == PublisherSettings("a:1", {}, "")


def test_any_librdkafka_setting_passes_through() -> None:
    """A shell variable can't hold a dot, so an underscore stands for it."""
    settings = READ(
        {
            "TRUEUP_KAFKA_BOOTSTRAP": "a:1",
            "TRUEUP_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "TRUEUP_KAFKA__LINGER_MS": "5",
            "TRUEUP_TOPIC_PREFIX": "t.",
        }
    )
    assert settings == PublisherSettings("a:1", {"security.protocol": "SASL_SSL", "linger.ms": "5"}, "t.")
    assert producer_options(settings, "s")["linger.ms"] == "5"


def test_secrets_come_from_files(tmp_path: Path) -> None:
    """As orchestrators hand them out, with the line end that editors add."""
    (tmp_path / "password").write_text("s3cret\n")
    settings = READ({"TRUEUP_KAFKA_BOOTSTRAP": "a:1", "TRUEUP_KAFKA__SASL_PASSWORD_FILE": str(tmp_path / "password")})
    assert settings.kafka == {"sasl.password": "s3cret"}


def test_the_configuration_file_stands_beneath_the_environment(tmp_path: Path) -> None:
    """What is set closer to the process wins."""
    file = tmp_path / "trueup.toml"
    file.write_text('kafka_bootstrap = "file:1"\ntopic_prefix = "f."\npartitions = 3\n[kafka]\nlinger_ms = 7\n"client.rack" = "r"\n')
    settings = READ({"TRUEUP_CONFIG": str(file), "TRUEUP_KAFKA__LINGER_MS": "9"})
    assert settings == PublisherSettings("file:1", {"linger.ms": "9", "client.rack": "r"}, "f.")
    assert READ({"TRUEUP_CONFIG": str(file), "TRUEUP_KAFKA_BOOTSTRAP": "a:1", "TRUEUP_TOPIC_PREFIX": ""}).topic_prefix == ""


def test_no_address() -> None:
    """Named, with an example."""
    with pytest.raises(PublisherSettingsError, match="TRUEUP_KAFKA_BOOTSTRAP is not set"):
        READ({})


def test_a_value_given_twice(tmp_path: Path) -> None:
    """Which one is meant can't be guessed."""
    (tmp_path / "b").write_text("b:2")
    with pytest.raises(PublisherSettingsError, match="both TRUEUP_KAFKA_BOOTSTRAP and"):
        READ({"TRUEUP_KAFKA_BOOTSTRAP": "a:1", "TRUEUP_KAFKA_BOOTSTRAP_FILE": str(tmp_path / "b")})


@pytest.mark.parametrize(("name", "value"), [("acks", "1"), ("enable.idempotence", "false"), ("partitioner", "consistent_random")])
def test_guarantees_can_t_be_bent(name: str, value: str) -> None:
    """Refused by name, not overridden in silence."""
    with pytest.raises(PublisherSettingsError, match=f"may not change {name}"):
        producer_options(PublisherSettings("a:1", {name: value}, ""), "s")


@pytest.mark.parametrize(("name", "value"), [("no.such.setting", "1"), ("batch.size", "large")])
def test_what_the_library_does_not_understand_is_named(name: str, value: str) -> None:
    """A typing error is a fault of the settings, told as such."""
    with pytest.raises(PublisherSettingsError, match=f'TRUEUP_KAFKA__… cannot be used: .*"{name}"'):
        Publisher("s", PublisherSettings("a:1", {name: value}, ""), scales={})


def test_saying_the_same_is_no_bending() -> None:
    """Some like to write down what holds anyway."""
    assert producer_options(PublisherSettings("a:1", {"acks": "all", "enable.idempotence": "true"}, ""), "s")["acks"] == "all"
