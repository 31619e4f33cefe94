"""Tells piccolo where the migrations are."""

from pathlib import Path

from piccolo.conf.apps import AppConfig

APP_CONFIG = AppConfig(
    app_name="terrapod",
    migrations_folder_path=str(Path(__file__).parent / "versions"),
    table_classes=[],
)
