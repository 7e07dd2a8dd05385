"""What only Meta has: a number there is asked for with the session's credentials, others are answered with 501."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from flask import Blueprint, Response, current_app, g, request
from werkzeug.exceptions import MethodNotAllowed, NotFound

from unoapi.errors import RequestError
from unoapi.errors.validation import invalid_value
from unoapi.models.graph import ACCOUNT_EDGES, NUMBER_EDGES, SAID_OF_ACCOUNTS, SAID_OF_NUMBERS, GraphRequest
from unoapi.models.phones import is_valid
from unoapi.web.auth import check_owner, owner, session_at_meta, session_token
from unoapi.web.concurrency_limit import ConcurrencyLimit
from unoapi.web.parts import parts
from unoapi.web.request_body import MAX_FIELDS, MULTIPART, json_of, raw_body
from unoapi.web.schemas import schema

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flask import Flask
    from flask.typing import ResponseReturnValue

    from unoapi.models.session import Session

routes = Blueprint("pass_through", __name__)

View = TypeVar("View", bound=Callable[..., Any])
EXTENSION = "pass_through"
METHODS = ["GET", "POST", "DELETE"]
LIBRARY = "message_template_library"
EDGE = re.compile(r"[A-Za-z0-9_=-]{1,256}(/[A-Za-z0-9_=:-]{1,256}){0,3}", re.ASCII)
FOREIGN = re.compile(r"(?=[A-Za-z_=-]*[0-9])[A-Za-z0-9_=-]{6,256}", re.ASCII)
"""The id of a thing: no word such as `me`, behind which all stands that the token opens."""
MIN_ID_CHARS = 15
"""As many as most ids of Meta's have, and no phone."""
SECRETS = "access_token"
"""Part of the names of what hands out tokens of Meta's: edges, and fields."""
ESCAPE = "\\u"
"""By which a name may stand in a list of fields that is JSON as it does not read."""
MAX_QUERY = 50
MAX_UPLOAD_BYTES = 16 * 1024 * 1024
"""Of a template's example, or a picture, which is passed on to Meta as a whole."""
OFFSET = re.compile(r"[0-9]{1,12}", re.ASCII)
MIN_TOKEN_CHARS = 16
"""Of a token of Meta's, which has far more: a shorter text may stand in an answer by chance."""
OURS = frozenset({"access_token", "hub.verify_token"})
"""Arguments that are for this gateway: Meta never gets a client's token."""
METHOD = "method"
"""The argument by which Graph does something else than the request's own method says, which decided who may."""
NEVER_SENT = OURS | {METHOD}
REFUSED = {"502": "Meta refuses the session's own token."}
"""What a route that asks Meta answers, too."""
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def register_waiting(app: Flask, *, threads: int) -> None:
    """Let a quarter of the API's threads wait for Meta, half of these for one number."""
    of_all = max(1, threads // 4)
    app.extensions[EXTENSION] = ConcurrencyLimit(of_all, of_one=max(1, of_all // 2), what="wait for Meta")


def _none_of_ours(view: View) -> View:
    """Answer 405 for a path that this gateway itself has for other methods."""

    @wraps(view)
    def checked(*args: Any, **kwargs: Any) -> Any:
        paths = current_app.url_map.bind("")
        own = sorted(method for method in METHODS if paths.match(request.path, method=method)[0] != request.endpoint)
        if own:
            raise MethodNotAllowed(valid_methods=own)
        return view(*args, **kwargs)

    return cast("View", checked)


def or_at_meta(view: View) -> View:
    """Ask Meta for a node that is none of the caller's here: a flow, a group. Stands above who may call the route."""

    @wraps(view)
    def tried(*args: Any, **kwargs: Any) -> Any:
        named = request.view_args or {}
        node = str(named.get("phone") or named.get("node") or "")
        foreign = FOREIGN.fullmatch(node) and not _may_be_phone(node)
        if foreign and not _is_kept_template(node) and (session := session_at_meta(node)) is not None:
            edge = kwargs.get("edge")
            return forward_node(session, f"{node}/{edge}" if edge else node)
        return view(*args, **kwargs)

    return cast("View", tried)


def _may_be_phone(node: str) -> bool:
    """Whether the environment may serve it: any phone. One id of Meta's in seventy looks like a long one of Germany."""
    return len(node) < MIN_ID_CHARS and is_valid(node)


def _is_kept_template(node: str) -> bool:
    from unoapi.web.templates import owner_of  # noqa: PLC0415 (which passes requests on, too)

    return node.isdigit() and owner_of(node) is not None


@routes.delete("/<graph:version>/<node:phone>")
@or_at_meta
@session_token
def delete_node(version: str, phone: str) -> ResponseReturnValue:  # noqa: ARG001
    """Delete a thing of Meta's. A number is removed with `deregister`."""
    raise MethodNotAllowed(valid_methods=["GET", "POST"])


@routes.get(f"/<graph:version>/{LIBRARY}")
@owner
@schema(also=REFUSED)
def template_library(version: str) -> ResponseReturnValue:  # noqa: ARG001
    """Ask Meta for the templates that it has written, of which an account there makes its own."""
    if (session := session_at_meta(LIBRARY)) is not None:
        return forward_node(session, LIBRARY)
    check_owner(None)
    raise not_at_meta(LIBRARY)


@routes.route("/<graph:version>/<node:phone>/<path:edge>", methods=METHODS)
@_none_of_ours
@or_at_meta
@session_token
@schema(also=REFUSED)
def edge_of_number(version: str, phone: str, edge: str) -> ResponseReturnValue:  # noqa: ARG001 (the session's counts)
    """Ask Meta for what has no form of its own here: calls, groups, flows, QR codes, settings, commerce, analytics."""
    name = edge.partition("/")[0]
    if not EDGE.fullmatch(edge) or SECRETS in edge:
        raise NotFound
    session = parts().sessions.find(phone)
    if session.provider != "forwarder":
        if name in ACCOUNT_EDGES | NUMBER_EDGES:
            raise not_at_meta(name)
        raise NotFound
    return forward(session, edge)


def not_at_meta(name: str) -> RequestError:
    """The answer to who asks a phone for what only Meta has."""
    details = f"{name}: only a number at Meta (provider forwarder) has it; this one is a phone or in the sandbox."
    return RequestError("Not implemented", code=131000, status=501, details=details)


def forward(session: Session, edge: str, **more: str) -> Response:
    """Pass the request on to the number or to its account, and answer with what Meta answers. Raises RequestError.

    `more` are arguments of the query beside those that came.
    """
    name = edge.partition("/")[0]
    named = str((request.view_args or {}).get("phone", ""))
    of_number = name in NUMBER_EDGES or (name not in ACCOUNT_EDGES and named != session.waba_id)
    _ensure_allowed(session, shared=of_number or (name == "message_templates" and request.method == "GET"))
    account = session.webhook_forward
    node = account.phone_number_id if of_number else account.business_account_id
    if not node:
        details = "Set webhookForward.businessAccountId of the session: the account at Meta has it."
        raise RequestError("Not registered at Meta", code=133010, status=400, details=details)
    return _ask(session, f"{node}/{edge}", **more)


def forward_change(session: Session, node: str) -> Response:
    """Pass a change of the number itself on, or of its account when that is what `node` names. Raises RequestError."""
    account = session.webhook_forward
    of_account = node == account.business_account_id != account.phone_number_id
    _ensure_allowed(session, shared=not of_account)
    return _ask(session, account.business_account_id if of_account else account.phone_number_id)


def forward_node(session: Session, path: str) -> Response:
    """Pass a request about a thing of Meta's on: a flow, a group, a template. Raises RequestError."""
    if not EDGE.fullmatch(path) or SECRETS in path:
        raise NotFound
    _ensure_allowed(session, shared=False)
    return _ask(session, path)


def said_of_number(session: Session, names: Iterable[str]) -> dict[str, Any]:
    """What Meta says of a number that is there, of these fields; nothing of what it does not say now."""
    return _said(session, session.webhook_forward.phone_number_id, SAID_OF_NUMBERS.intersection(names))


def said_of_account(session: Session, names: Iterable[str]) -> dict[str, Any]:
    """The same of the number's account there. Of the environment's account it is said to the operator alone."""
    account_id = session.webhook_forward.business_account_id
    if not account_id or (session.environments_account and not g.operator):
        return {}
    return _said(session, account_id, SAID_OF_ACCOUNTS.intersection(names))


def _said(session: Session, node: str, names: frozenset[str]) -> dict[str, Any]:
    if not names or session.provider != "forwarder":
        return {}
    query = (("fields", ",".join(sorted(names))),)
    limit: ConcurrencyLimit = current_app.extensions[EXTENSION]
    try:
        with limit.taken(session.phone):
            answer = parts().graph.ask(session, GraphRequest("GET", node, query))
    except RequestError:
        return {}
    document = json.loads(answer.body or b"{}")
    if answer.status >= 400 or not isinstance(document, dict):  # noqa: PLR2004 (an error)
        return {}
    return {name: document[name] for name in names if name in document}


def forward_upload(session: Session, upload_id: str) -> Response:
    """Pass the bytes of an upload at Meta on, or ask how many it has. Raises RequestError."""
    _ensure_allowed(session, shared=False)
    request.max_content_length = MAX_UPLOAD_BYTES
    body = raw_body() if request.method != "GET" else None
    offset = request.headers.get("file_offset", "0").strip()
    if not OFFSET.fullmatch(offset):
        details = "file_offset: must be a whole number."
        raise invalid_value(details)
    kind = "application/octet-stream" if body is not None else ""
    return _pass(session, GraphRequest(request.method, upload_id, _query(), body, kind, (("file_offset", offset),)))


def _ensure_allowed(session: Session, *, shared: bool) -> None:
    """The environment's account is the operator's: a session's token gets what is its number's alone."""
    if session.environments_account and not shared and not g.operator:
        details = "Only the operator's token may ask this of the account at Meta that WEBHOOK_FORWARD_* names."
        raise RequestError("Permission denied", code=10, status=403, details=details)


def _ask(session: Session, path: str, **more: str) -> Response:
    body, content_type = _body() if request.method != "GET" else (None, "")
    asked = GraphRequest(request.method, path, query=(*_query(), *more.items()), body=body, content_type=content_type)
    return _pass(session, asked)


def _pass(session: Session, asked: GraphRequest) -> Response:
    limit: ConcurrencyLimit = current_app.extensions[EXTENSION]
    with limit.taken(session.phone):  # Meta may take its time
        answer = parts().graph.ask(session, asked)
    response = Response(_shown(answer.body, session), status=answer.status, mimetype="application/json")
    if answer.retry_after_s is not None:
        response.headers["Retry-After"] = str(answer.retry_after_s)
    return response


def _query() -> tuple[tuple[str, str], ...]:
    given = list(request.args.items(multi=True))
    if any(SECRETS in value for _, value in given):
        raise NotFound
    _ensure_harmless(given)
    return tuple((name, value) for name, value in given if name not in NEVER_SENT)[:MAX_QUERY]


def _ensure_harmless(given: Iterable[tuple[str, Any]]) -> None:
    """Refuse arguments, of a query or a body, that ask for more than the request says. Raises RequestError, NotFound.

    Those are a secret field of a node, however deep and however it is written, and another method. Spaces before a name
    count for nothing in PHP's kind of forms, which Graph reads.
    """
    for name, value in given:
        plain, text = name.lstrip(" "), f"{value}"
        if plain.partition("[")[0] == "fields" and (SECRETS in text or ESCAPE in text):
            raise NotFound
        if plain == METHOD and text.upper() != request.method:
            details = f"{METHOD}: send the request with this method itself. Graph would take the argument for it."
            raise RequestError("Invalid parameter", code=100, status=400, details=details)


def _body() -> tuple[bytes | None, str]:
    """The body as it came, and its type; without a client's token. Raises RequestError."""
    raw, mimetype = raw_body(), request.mimetype
    if mimetype == MULTIPART:
        return _multipart(raw)
    if not raw:
        return b"", ""
    if mimetype == FORM and not raw.lstrip().startswith(b"{"):
        try:
            fields = parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
        except ValueError:
            details = f"The form has more than {MAX_FIELDS} fields."
            raise RequestError("Invalid parameter", code=100, status=400, details=details) from None
        return _form(fields)
    if mimetype in (JSON, FORM, ""):
        document = json_of(raw, name="The body")
        if isinstance(document, dict):
            _ensure_harmless(document.items())
        if isinstance(document, dict) and OURS & document.keys():
            raw = json.dumps({name: value for name, value in document.items() if name not in OURS}).encode()
        return raw, JSON
    return raw, request.content_type or ""


def _form(fields: list[tuple[str, str]]) -> tuple[bytes, str]:
    _ensure_harmless(fields)
    return urlencode([field for field in fields if field[0] not in OURS]).encode(), FORM


def _multipart(raw: bytes) -> tuple[bytes, str]:
    """A multipart body as it came, or as a plain form what the route has read of it already."""
    fields = list(request.form.items(multi=True))
    if not raw:
        return _form(fields) if fields else (b"", "")
    if not fields and not request.files:
        details = "The form cannot be read: is its boundary right, and did all of it come?"
        raise RequestError("Invalid parameter", code=100, status=400, details=details)
    if OURS & request.form.keys():
        details = "Send the token in the Authorization header, not in a multipart body."
        raise RequestError("Invalid parameter", code=100, status=400, details=details)
    _ensure_harmless(fields)
    return raw, request.content_type or ""


def _shown(body: bytes, session: Session) -> bytes:
    """Meta's answer without the account's token, and with addresses of the next page that lead here."""
    if b'"paging"' in body:
        document = json.loads(body)
        paging = document.get("paging") if isinstance(document, dict) else None
        for name in ("next", "previous"):
            if isinstance(paging, dict) and isinstance(paging.get(name), str):
                paging[name] = _our_page(paging[name])
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    token = session.webhook_forward.token.get_secret_value()
    return body.replace(token.encode(), b"") if len(token) >= MIN_TOKEN_CHARS else body


def _our_page(address: str) -> str:
    cursors = [(name, value) for name, value in parse_qsl(urlsplit(address).query) if name not in OURS]
    return f"{request.base_url}?{urlencode(cursors)}"
