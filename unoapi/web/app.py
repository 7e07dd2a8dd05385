"""The Flask application."""

from __future__ import annotations

import sys

from flask import Flask
from werkzeug.routing import BaseConverter

from unoapi.bootstrap import unoapi
from unoapi.errors import EX_CONFIG, ConfigurationError
from unoapi.models.media import FORMER_ID, MEDIA_ID
from unoapi.web import (
    admin,
    blacklist,
    contacts,
    docs,
    events,
    health,
    media,
    messages,
    meta,
    phones,
    qr,
    sandbox,
    sessions,
    templates,
    timers,
)
from unoapi.web.counting import register_counting
from unoapi.web.errors import register_errors
from unoapi.web.graph import NodeConverter, VersionConverter
from unoapi.web.headers import register_headers
from unoapi.web.socket import Socket

RESOURCES = (
    health, messages, media, sessions, phones, templates, blacklist, timers, contacts, meta, events, sandbox, admin,
    qr, docs,
)  # fmt: skip


class DigitsConverter(BaseConverter):
    """A session's phone in a path: digits only."""

    regex = r"[0-9]{1,20}"
    weight = 50  # goes before a version or an id of the Graph in the same place


class MediaIdConverter(BaseConverter):
    """A media id in a path, also in the former program's form with the phone before it."""

    regex = rf"(?:{MEDIA_ID}|[0-9]{{1,20}}-[0-9A-Za-z._-]{{1,200}})"


class FormerMediaIdConverter(BaseConverter):
    """A media id behind its phone in a path."""

    regex = rf"(?:{MEDIA_ID}|{FORMER_ID})"


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
