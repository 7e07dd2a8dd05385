"""The least that a Flask route can do."""

from flask import Flask

app = Flask(__name__)


@app.post("/constant")
def constant() -> dict[str, str]:
    return {"id": "constant"}
