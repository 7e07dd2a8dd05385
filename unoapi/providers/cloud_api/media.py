"""Files at Meta: first their description, then their bytes, both with the account's token."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from unoapi.errors import FetchFailed, NotSent, Unanswered
from unoapi.models.attempts import redirected_to
from unoapi.models.strict_json import read_answer
from unoapi.providers.cloud_api.provider import address, bearer

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from unoapi.http.api_client import ApiClient
    from unoapi.http.downloader import Downloader, Fetched
    from unoapi.ports import SessionStore

OK = 200


class CloudApiMedia:
    """RemoteMedia at Meta. `share` is entered with Meta's address before it is asked; it may raise Postponed."""

    def __init__(
        self,
        *,
        sessions: SessionStore,
        api_client: ApiClient,
        downloader: Downloader,
        timeout_ms: int,
        share: Callable[[str], AbstractContextManager[object]],
    ) -> None:
        self._sessions = sessions
        self._api_client = api_client
        self._downloader = downloader
        self._timeout_ms = timeout_ms
        self._share = share

    def fetch(self, phone: str, media_id: str, target: BinaryIO, *, limit: int) -> Fetched:
        """Write a file to `target`. Raises FetchFailed."""
        account = self._sessions.find(phone).webhook_forward
        if not media_id.isascii() or not media_id.isalnum():
            raise FetchFailed("Meta's media id is none")
        headers = (bearer(account),)
        try:
            with self._share(address(account)):
                answer = self._api_client.request(
                    "GET", f"{address(account)}/{media_id}", headers=headers, timeout_ms=account.deadline_ms
                )
        except (NotSent, Unanswered) as error:
            raise FetchFailed(f"Meta did not describe the file: {error}") from error
        url = read_answer(answer.body).get("url")
        if answer.status != OK or not isinstance(url, str):
            said = redirected_to(answer.redirect) or f"HTTP {answer.status}"
            raise FetchFailed(f"Meta did not describe the file: {said}")
        return self._downloader.fetch(url, target, limit=limit, timeout_ms=self._timeout_ms, headers=headers)
