"""The environment is read once, and says everything that is wrong with it."""

import re
from pathlib import Path
from typing import ClassVar

import pytest

from services.dedupe import config as dedupe
from services.ingest import config as ingest
from services.reconciler import config as reconciler
from services.stripe_sink import config as stripe_sink
from services.usage_view import config as usage_view
from trueup.runtime.settings import SettingsError, StreetSettings, from_environment


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("TRUEUP_")]:
        monkeypatch.delenv(name)


def test_kafka_settings_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell can name any librdkafka setting."""
    monkeypatch.setenv("TRUEUP_KAFKA_BOOTSTRAP", "127.0.0.1:9092")
    monkeypatch.setenv("TRUEUP_KAFKA__SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("TRUEUP_KAFKA__sasl.password", "geheim")
    settings = StreetSettings()
    assert settings.kafka_bootstrap == "127.0.0.1:9092"
    assert settings.kafka == {"security.protocol": "SSL", "sasl.password": "geheim"}


def test_secret_comes_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Orchestrators hand out secrets as files."""
    (tmp_path / "key").write_text("sk_test_1\n")
    monkeypatch.setenv("TRUEUP_STRIPE_API_KEY_FILE", str(tmp_path / "key"))
    assert StreetSettings().stripe_api_key == "sk_test_1"
    monkeypatch.setenv("TRUEUP_STRIPE_API_KEY", "sk_test_2")
    with pytest.raises(SettingsError, match="which one is meant"):
        StreetSettings()


def test_config_file_is_beneath_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment wins; a room's own table is for that room alone."""

    class DedupeSettings(StreetSettings):
        table: ClassVar[str | None] = "dedupe"
        batch_records: int = 1

    (tmp_path / "trueup.toml").write_text('partitions = 4\ntopic_prefix = "a."\n[dedupe]\nbatch_records = 7\n')
    monkeypatch.setenv("TRUEUP_CONFIG", str(tmp_path / "trueup.toml"))
    monkeypatch.setenv("TRUEUP_TOPIC_PREFIX", "b.")
    assert (StreetSettings().partitions, StreetSettings().topic_prefix) == (4, "b.")
    assert DedupeSettings().batch_records == 7


def test_unknown_key_in_the_config_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A misspelt setting must not be ignored."""
    (tmp_path / "trueup.toml").write_text("partitons = 4\n")
    monkeypatch.setenv("TRUEUP_CONFIG", str(tmp_path / "trueup.toml"))
    with pytest.raises(SettingsError, match=r"trueup\.toml: partitons is no setting"):
        StreetSettings()


def test_a_secret_of_the_kafka_client_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As for the publisher; with both given nobody knows which one is meant."""
    (tmp_path / "password").write_text("geheim\n")
    (tmp_path / "given.toml").write_text('[kafka]\n"sasl.oauthbearer.assertion.private.key.file" = "key.pem"\n')
    monkeypatch.setenv("TRUEUP_CONFIG", str(tmp_path / "given.toml"))
    monkeypatch.setenv("TRUEUP_KAFKA__SASL_PASSWORD_FILE", str(tmp_path / "password"))
    assert from_environment(StreetSettings).kafka == {
        "sasl.password": "geheim",
        "sasl.oauthbearer.assertion.private.key.file": "key.pem",
    }
    monkeypatch.setenv("TRUEUP_KAFKA__SASL_PASSWORD", "another")
    with pytest.raises(SettingsError, match="both TRUEUP_KAFKA__SASL_PASSWORD and TRUEUP_KAFKA__SASL_PASSWORD_FILE are set"):
        from_environment(StreetSettings)


@pytest.mark.parametrize(
    ("variable", "content", "said"),
    [
        ("TRUEUP_CONFIG", None, "TRUEUP_CONFIG names .* cannot be read"),
        ("TRUEUP_CONFIG", b"partitions = \n", r"given\.toml: Invalid value"),
        ("TRUEUP_CONFIG", b"\xff", "TRUEUP_CONFIG names .* cannot be read"),
        ("TRUEUP_KAFKA__SASL_PASSWORD_FILE", None, "TRUEUP_KAFKA__SASL_PASSWORD_FILE names .* cannot be read"),
        ("TRUEUP_POSTGRES_DSN_FILE", None, "TRUEUP_POSTGRES_DSN_FILE names .* cannot be read"),
        ("TRUEUP_PARTITIONS", b"", "TRUEUP_PARTITIONS: Input should be a valid integer"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, content: bytes | None, said: str
) -> None:
    """It names the variable, or the file and the place in it."""
    path = tmp_path / "given.toml"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(SettingsError, match=said):
        from_environment(StreetSettings)


def test_all_missing_variables_are_named_at_once() -> None:
    """One start shows every mistake."""
    with pytest.raises(SettingsError, match="TRUEUP_KAFKA_BOOTSTRAP, TRUEUP_POSTGRES_DSN"):
        StreetSettings(room="dedupe-1").require("kafka_bootstrap", "postgres_dsn", "room")


def test_shown_settings_hold_no_secret() -> None:
    """`trueup doctor` may be pasted into a ticket."""
    settings = StreetSettings(
        postgres_dsn="postgresql://me:geheim@127.0.0.1/db",
        stripe_api_key="sk_test_geheim_1234",
        kafka={"sasl.password": "geheim", "security.protocol": "SSL"},
    )
    assert "geheim" not in str(settings.redacted())
    assert "geheim" not in repr(settings)


@pytest.mark.parametrize(
    "dsn",
    [
        "host=h password=geheim user=me",
        "host=h password = geheim user=me",
        "host=h password='geheim geheim' user=me",
        r"host=h password='ge\'heim geheim' user=me",
        "postgresql://me@h/db?password=geheim&user=me",
    ],
)
def test_a_password_is_hidden_however_libpq_lets_it_be_written(dsn: str) -> None:
    shown = str(StreetSettings(postgres_dsn=dsn).redacted()["postgres_dsn"])
    assert "heim" not in shown and "user=me" in shown


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TRUEUP_CLOCK", "bogus", "TRUEUP_CLOCK: .*'system' or 'simulated:FILE', not 'bogus'"),
        ("TRUEUP_HTTP_PORT", "999999", "TRUEUP_HTTP_PORT: .*65535"),
        ("TRUEUP_HTTP_PORT", "-1", "TRUEUP_HTTP_PORT"),
        ("TRUEUP_POSTGRES_DSN", "nonsense", "TRUEUP_POSTGRES_DSN: .*postgresql://"),
        ("TRUEUP_CONFLUENT_SCHEMA_IDS", "{bad", "confluent_schema_ids"),
        ("TRUEUP_KAFKA", "abc", "kafka"),
    ],
)
def test_a_value_of_the_wrong_kind_is_said_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=said):
        from_environment(StreetSettings)


EXAMPLES = Path(__file__).parents[3] / "deploy"
ROOMS = (dedupe.Settings, ingest.Settings, reconciler.Settings, stripe_sink.Settings, usage_view.Settings, StreetSettings)


@pytest.mark.parametrize("settings_class", ROOMS)
def test_the_example_file_is_understood_by_every_process(monkeypatch: pytest.MonkeyPatch, settings_class: type[StreetSettings]) -> None:
    monkeypatch.setenv("TRUEUP_CONFIG", str(EXAMPLES / "trueup.example.toml"))
    settings = from_environment(settings_class)
    assert (settings.kafka_bootstrap, settings.kafka) == ("kafka:9092", {"security.protocol": "SASL_SSL"})
    assert getattr(settings, "ingest_port", 8080) == 8080


def test_the_example_environment_names_settings_that_there_are() -> None:
    text = (EXAMPLES / "env.example").read_text(encoding="utf-8")
    named = set(re.findall(r"^(?:# )?TRUEUP_(\w+)=", text, re.MULTILINE))
    known = {name.upper() for settings_class in ROOMS for name in settings_class.model_fields}
    assert named <= known
    assert {"KAFKA_BOOTSTRAP", "POSTGRES_DSN", "STRIPE_API_KEY"} <= named
