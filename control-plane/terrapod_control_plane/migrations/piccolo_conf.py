"""The piccolo configuration of the process: our engine, our migrations."""

from piccolo.conf.apps import AppRegistry

from terrapod_control_plane.kernel.db import ENGINE

DB = ENGINE
APP_REGISTRY = AppRegistry(apps=["terrapod_control_plane.migrations.piccolo_app"])
