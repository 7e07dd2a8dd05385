"""What may stand in a path: phones, ids, versions."""

from __future__ import annotations

from werkzeug.routing import BaseConverter

from unoapi.models.media import FORMER_ID, MEDIA_ID


class DigitsConverter(BaseConverter):
    """A session's phone in a path: digits only."""

    regex = r"[0-9]{1,20}"
    weight = 50  # matched before a version or an id of the Graph in the same position


class MediaIdConverter(BaseConverter):
    """A media id in a path, also in the Node version's form with the phone before it."""

    regex = rf"(?:{MEDIA_ID}|[0-9]{{1,20}}-[0-9A-Za-z._-]{{1,200}})"


class FormerMediaIdConverter(BaseConverter):
    """A media id behind its phone in a path."""

    regex = rf"(?:{MEDIA_ID}|{FORMER_ID})"


class UploadIdConverter(BaseConverter):
    """The id of an upload."""

    regex = r"upload:[A-Za-z0-9._=+-]{1,1000}"


class NodeConverter(BaseConverter):
    """An id of the Graph's name space: a phone, a phone number id, a business account id.

    Matched before a mere phone in the same position, because what follows it is always named.
    """

    regex = r"[A-Za-z0-9_-]{1,64}"
    weight = 20


class VersionConverter(BaseConverter):
    """A version, in a path where something else could be meant."""

    regex = r"v[0-9]{1,3}(?:\.[0-9]{1,3})?"
    weight = 150  # media ids are matched first


CONVERTERS: dict[str, type[BaseConverter]] = {
    "digits": DigitsConverter,
    "node": NodeConverter,
    "graph": VersionConverter,
    "media_id": MediaIdConverter,
    "former_media_id": FormerMediaIdConverter,
    "upload_id": UploadIdConverter,
}
"""By their names in the routes."""
