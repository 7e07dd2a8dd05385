"""What an old environment is told, at the release and by the running API; the tables are in tests/unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from tests.support.api import Api
from tests.support.api import api as serve_api
from tests.support.fakes import PHONE
from unoapi.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers

ENDED = "version v17.0 of Meta's Graph API ended on 2025-09-12"


@pytest.fixture(scope="module")
def api(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve_api(servers, tmp_path_factory.mktemp("moving"), WEBHOOK_FORWARD_VERSION="v17.0") as running:
        yield running


def test_field_report_107_an_ended_version_is_said_in_the_readiness_and_takes_nothing_away(api: Api) -> None:
    answer = api.get("/health/ready", token=None)

    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert answer.json()["checks"]["graph"] == ENDED


def test_field_reports_107_and_111_the_release_has_a_line_for_each(api: Api) -> None:
    environment = {"IGNORED_TO_NUMBERS": "[]", "WAVOIP_TOKEN": "secret-of-wavoip", "QR_TIMEOUT": "true"}

    done = CliRunner().invoke(cli, ["release"], obj=api.uno, env=environment)

    lines = [line.split(maxsplit=2) for line in done.output.splitlines()]
    assert done.exit_code == 0, done.output
    assert [words[:2] for words in lines][-4:] == [["graph", "note"], *[["moving", "note"]] * 3]
    assert ENDED in lines[-4][2]
    assert [words[2].split()[0] for words in lines[-3:]] == ["IGNORED_TO_NUMBERS", "QR_TIMEOUT", "WAVOIP_TOKEN"]
    assert "secret-of-wavoip" not in done.output


def test_field_report_111_options_of_a_session_have_their_default_from_the_environment(
    servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory
) -> None:
    options = {"SEND_REACTION_AS_REPLY": "true", "OUTGOING_MESSAGES_COEX": "true", "IGNORE_CALLS": "no calls"}
    options["SEND_PROFILE_PICTURE"] = "true"
    with serve_api(servers, tmp_path_factory.mktemp("options"), **options) as running:
        running.register([])
        session = running.uno.sessions.find(PHONE)

    assert (session.send_reaction_as_reply, session.outgoing_messages_coex) == (True, True)
    assert session.send_profile_picture
    assert session.reject_calls == "no calls"
