"""What a route takes and answers: said at its view, checked before it, and described."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from flask import Blueprint, Flask, jsonify
from pydantic import BaseModel, Field

from unoapi.errors import RequestError
from unoapi.web.openapi import describe
from unoapi.web.schemas import body, query, schema

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("pets", __name__)


class Pet(BaseModel):
    name: str = Field(min_length=1)


class Slice(BaseModel):
    limit: int = 10


@routes.post("/pets")
@body(Pet)
def add(body: Pet) -> ResponseReturnValue:
    """Add a pet."""
    return jsonify(name=body.name)


@routes.get("/pets")
@query(Slice)
def show(query: Slice) -> ResponseReturnValue:
    """Show pets."""
    return jsonify(limit=query.limit)


@routes.get("/pets/picture")
@schema(answer="image/png", also={"204": "No picture."})
def picture() -> ResponseReturnValue:
    """Show a picture."""
    return b""


@routes.get("/pets/live")
@schema(described=False)
def live() -> ResponseReturnValue:
    """Pets as they change."""
    return b""


@pytest.fixture
def app() -> Flask:
    app = Flask("pets")
    app.testing = True  # errors come out as they are raised
    app.register_blueprint(routes)
    return app


def test_a_view_gets_the_model_that_checked_its_body(app: Flask) -> None:
    assert app.test_client().post("/pets", json={"name": "Rex"}).get_json() == {"name": "Rex"}


def test_a_view_gets_the_model_that_checked_its_query(app: Flask) -> None:
    assert app.test_client().get("/pets?limit=3").get_json() == {"limit": 3}


@pytest.mark.parametrize("document", [{}, {"name": ""}])
def test_a_body_that_does_not_fit_never_reaches_its_view(app: Flask, document: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=r"not valid|missing"):
        app.test_client().post("/pets", json=document)


def test_a_body_that_is_no_object_never_reaches_its_view(app: Flask) -> None:
    with pytest.raises(RequestError):
        app.test_client().post("/pets", json=["Rex"])


def test_the_description_says_what_the_views_say(app: Flask) -> None:
    document = describe(app)

    paths = document["paths"]
    content = paths["/pets"]["post"]["requestBody"]["content"]
    assert content == {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}
    assert document["components"]["schemas"]["Pet"]["required"] == ["name"]
    assert [parameter["name"] for parameter in paths["/pets"]["get"]["parameters"]] == ["limit"]
    responses = paths["/pets/picture"]["get"]["responses"]
    assert responses["200"]["content"] == {"image/png": {"schema": {"type": "string"}}}
    assert responses["204"] == {"description": "No picture."}
    assert "/pets/live" not in paths
