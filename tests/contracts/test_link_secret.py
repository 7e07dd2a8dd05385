"""The key of links to files: one for all processes, and never in the way of a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import PHONE
from unoapi.errors import StoreUnavailable
from unoapi.media.signed_urls import SignedUrls
from unoapi.models.media import MediaFile
from unoapi.stores.link_secret import RedisLinkSecret

if TYPE_CHECKING:
    from unoapi.stores.redis import RedisClient

MEDIA = MediaFile(id="1", phone=PHONE, key=f"{PHONE}/1.png")


def urls(redis: RedisClient) -> SignedUrls:
    return SignedUrls(
        base_url="http://uno.test", read_key=RedisLinkSecret(redis).read, former_keys=("former",), ttl_s=60
    )


def test_the_first_process_draws_it_and_all_others_read_it(redis_client: RedisClient) -> None:
    first, second = RedisLinkSecret(redis_client), RedisLinkSecret(redis_client)

    assert first.read() == second.read()
    assert len(first.read()) == 64


def test_a_link_opens_its_file_in_every_process(redis_client: RedisClient) -> None:
    signature = urls(redis_client).make(MEDIA).partition("signature=")[2]

    assert urls(redis_client).opens(MEDIA.key, signature)
    assert not urls(redis_client).opens(f"{PHONE}/2.png", signature)


def test_while_the_key_cannot_be_read_a_link_is_made_all_the_same(away: RedisClient, redis_client: RedisClient) -> None:
    signature = urls(away).make(MEDIA).partition("signature=")[2]

    assert urls(redis_client).opens(MEDIA.key, signature)
    with pytest.raises(StoreUnavailable):  # nobody can say: 503, and not "wrong"
        urls(away).opens(MEDIA.key, signature)
