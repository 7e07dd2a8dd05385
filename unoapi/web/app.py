"""The Flask application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask

from unoapi.web import (
    accounts,
    activity,
    admin,
    apps,
    audit,
    blacklist,
    bulk,
    connection,
    contacts,
    docs,
    events,
    groups,
    health,
    media,
    message_log,
    messages,
    pass_through,
    phones,
    request_bin,
    sandbox,
    sessions,
    socketio_broadcast,
    templates,
    timers,
    uploads,
    webhooks,
)
from unoapi.web.audit import register_audit
from unoapi.web.console import pages
from unoapi.web.converters import CONVERTERS
from unoapi.web.errors import register_errors
from unoapi.web.fast_path import register_fast_path
from unoapi.web.graph import register_default_version
from unoapi.web.headers import register_headers, register_loopback_check
from unoapi.web.metrics import register_counting
from unoapi.web.parts import EXTENSION
from unoapi.web.rate_limits import register_limits
from unoapi.web.request_body import register_text_check
from unoapi.web.socketio_broadcast import register_broadcast
from unoapi.web.tracing import register_tracing
from unoapi.web.url_rules import LazyRule

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno

RESOURCES = (
    health, messages, media, sessions, phones, templates, apps, uploads, blacklist, timers, bulk, contacts, groups,
    accounts, events, sandbox, message_log, activity, webhooks, request_bin, audit, admin, connection,
    socketio_broadcast, docs, pages, pass_through,
)  # fmt: skip


def create_app(uno: Uno) -> Flask:
    """The API over these parts."""
    settings = uno.settings
    app = Flask("unoapi", static_folder=None)
    app.url_rule_class = LazyRule
    app.extensions[EXTENSION] = uno
    app.config["MAX_CONTENT_LENGTH"] = settings.unoapi_body_max_bytes
    app.url_map.strict_slashes = False
    app.url_map.converters |= CONVERTERS
    register_default_version(app)
    register_counting(app)
    register_text_check(app)
    for resource in RESOURCES:
        app.register_blueprint(resource.routes)
    if not settings.unoapi_auth_token.get_secret_value():
        register_loopback_check(app, origins=settings.cors_origins)
    register_audit(app)
    register_errors(app)
    register_headers(app, origins=settings.cors_origins, token_header=settings.unoapi_header_name)
    register_limits(
        app,
        accepted=settings.unoapi_rate_limit,
        refused=settings.unoapi_rate_limit_refused,
        processes=settings.unoapi_web_processes,
    )
    contacts.register_waiting(app, threads=settings.unoapi_web_threads)
    pass_through.register_waiting(app, threads=settings.unoapi_web_threads)
    if settings.unoapi_auth_token.get_secret_value():
        register_fast_path(app, token_header=settings.unoapi_header_name)
    register_tracing(app)
    register_broadcast(
        app, subscribe=uno.redis.subscribe, threads=settings.unoapi_web_threads, origins=settings.cors_origins
    )
    return app
