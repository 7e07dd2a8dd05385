"""The bare accept path of the core: JSON in, one confirmed publish, an id out. No validation, no token, no trace."""

import json

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue

from tests.support.constants import PHONE
from unoapi.bootstrap import unoapi
from unoapi.models.cloud_api.messages import new_message_id
from unoapi.models.jobs import Envelope, SendMessage

app = Flask("accept")


@app.post("/accept")
def accept() -> ResponseReturnValue:
    body = json.loads(request.get_data())
    message_id = new_message_id()
    job = SendMessage(id=message_id, phone=PHONE, message_id=message_id, body=json.dumps(body))
    unoapi().publisher.publish([Envelope(job)])
    return jsonify(
        messaging_product="whatsapp",
        contacts=[{"input": body["to"], "wa_id": body["to"]}],
        messages=[{"id": message_id}],
    )
