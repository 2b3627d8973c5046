"""What a user can set from outside. The only reader of the environment."""

from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from deertrack.domain.errors import InputError


class Settings(BaseSettings):
    """Environment variables, each also a field here; ``deertrack --home`` outranks ``DEERTRACK_HOME``."""

    model_config = SettingsConfigDict(env_prefix="DEERTRACK_", env_ignore_empty=True, extra="ignore")

    home: Path = Field(default_factory=lambda: user_data_path("deertrack", appauthor=False))
    database_url: str | None = Field(default=None, validation_alias="DATABASE_URL")
    # The specification's flag, under its name. It outranks the last cut-over, in this process only.
    use_enhanced_reid: bool | None = Field(default=None, validation_alias="USE_ENHANCED_REID")
    pack: str = "nyala"  # that a catalogue begins with
    engine: Literal["auto", "openvino", "onnxruntime"] = "auto"
    precision: Literal["f32", "bf16"] = "f32"
    threads: int | None = Field(default=None, ge=1, le=256)
    api_token: str | None = Field(default=None, min_length=16)
    hosts: str = ""  # names that `serve` answers to, with commas between them
    login: bool | None = (
        None  # whether `serve` asks who somebody is; by default it does where there is a token
    )
    https: bool = False  # people reach `serve` by https, through a proxy that may not say so
    photos: Path | None = None  # the only folder that runs asked for over HTTP may read


def read_settings(home: Path | None = None) -> Settings:
    """The settings of this process.

    Raises:
        InputError: a variable holds something else than expected; names it.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        name = name if name.isupper() else f"DEERTRACK_{name.upper()}"
        raise InputError(f"environment variable {name}: {first['msg']}, got {first['input']!r}") from None
    if home is not None:
        settings.home = home
    settings.home = settings.home.expanduser().absolute()
    return settings
