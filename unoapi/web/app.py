"""The Flask application."""

from __future__ import annotations

import sys

from flask import Flask

from unoapi.bootstrap import unoapi
from unoapi.errors import EX_CONFIG, ConfigurationError
from unoapi.web import (
    accounts,
    admin,
    blacklist,
    connect_page,
    contacts,
    docs,
    events,
    health,
    media,
    messages,
    phones,
    sandbox,
    sessions,
    templates,
    timers,
)
from unoapi.web.converters import (
    DigitsConverter,
    FormerMediaIdConverter,
    MediaIdConverter,
    NodeConverter,
    VersionConverter,
)
from unoapi.web.errors import register_errors
from unoapi.web.headers import register_headers
from unoapi.web.metrics import register_counting
from unoapi.web.socketio_broadcast import Socket

RESOURCES = (
    health, messages, media, sessions, phones, templates, blacklist, timers, contacts, accounts, events, sandbox, admin,
    connect_page, docs,
)  # fmt: skip


def create_app() -> Flask:
    """Make the application from the environment's settings."""
    try:
        settings = unoapi().settings
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EX_CONFIG)
    app = Flask("unoapi", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.unoapi_body_max_bytes
    app.url_map.strict_slashes = False
    app.url_map.converters |= {
        "digits": DigitsConverter,
        "node": NodeConverter,
        "graph": VersionConverter,
        "media_id": MediaIdConverter,
        "former_media_id": FormerMediaIdConverter,
    }
    register_counting(app)
    for part in RESOURCES:
        app.register_blueprint(part.routes)
    register_errors(app)
    register_headers(app, origins=settings.cors_origins, token_header=settings.unoapi_header_name)
    app.wsgi_app = Socket(  # type: ignore[method-assign]
        app.wsgi_app, threads=settings.unoapi_web_threads, origins=settings.cors_origins
    )
    return app
