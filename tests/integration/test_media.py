"""Files over HTTP: up, described, down, gone; large ones, those of the Node version, and ways out of the folder."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import redis
import requests

from tests.support.stack import CONTACT, OPERATOR, PHONE, QUEUES, Stack, eventually, stack
from unoapi.devenv.packages import FFMPEG, find_or_install
from unoapi.errors import ConfigurationError, ConversionFailed
from unoapi.media.ffmpeg import to_voice
from unoapi.stores.media_index import SWEEP_LEASE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.receiver import Receiver
    from unoapi.devenv.servers import PrivateServers

OTHER = "5521977776666"
TOKEN, OTHER_TOKEN = f"session-token-{PHONE}", f"session-token-{OTHER}"
PNG = b"\x89PNG\r\n\x1a\n some picture"


@pytest.fixture(scope="module")
def uno(servers: PrivateServers, hooks: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(servers, tmp_path_factory.mktemp("media")) as running:
        running.web()
        running.worker(queues=tuple(queue for queue in QUEUES if queue != "media"))
        running.worker(queues=("media",), name="media", pool="prefork", threads=2)  # as the Procfile does
        for phone in (PHONE, OTHER):
            running.register([{"id": "main", "urlAbsolute": hooks.url(f"/{phone}")}], phone=phone)
        yield running


def upload(uno: Stack, data: Any = PNG, *, name: str = "dot.png", mime_type: str = "image/png", **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {options.pop('token', TOKEN)}"}
    form = options.pop("form", {"messaging_product": "whatsapp", "type": mime_type})
    phone = options.pop("phone", PHONE)
    return requests.post(
        f"{uno.url}/v15.0/{phone}/media",
        data=form,
        files={"file": (name, data, mime_type)},
        headers=headers,
        timeout=60,
    )


def get(url: str, *, token: str | None = TOKEN) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.get(url, headers=headers, timeout=10)


@pytest.fixture
def media_id(uno: Stack) -> str:
    return str(upload(uno).json()["id"])


def test_the_media_worker_sweeps_under_a_lease(uno: Stack, servers: PrivateServers) -> None:
    assert uno.processes
    assert eventually(lambda: redis.Redis.from_url(servers.redis_url).exists(SWEEP_LEASE), within_s=5)


def test_a_file_is_described_with_all_six_fields(uno: Stack, media_id: str) -> None:
    described = get(f"{uno.url}/v15.0/{media_id}").json()

    assert media_id.isdigit()
    assert len(media_id) > 20
    assert {key: part for key, part in described.items() if key != "url"} == {
        "messaging_product": "whatsapp",
        "mime_type": "image/png",
        "sha256": hashlib.sha256(PNG).hexdigest(),
        "file_size": len(PNG),
        "id": media_id,
        "filename": "dot.png",
    }
    assert described["url"].startswith(uno.url)


@pytest.mark.parametrize("path", ["/{id}", "/v17.0/{id}", "/v17.0/{phone}/{id}", "/v13.0/{id}?phone_number_id={phone}"])
def test_every_address_of_a_file_describes_it(uno: Stack, media_id: str, path: str) -> None:
    answer = get(f"{uno.url}{path.format(id=media_id, phone=PHONE)}")

    assert answer.json()["id"] == media_id


def test_the_link_opens_without_a_token_and_also_with_one(uno: Stack, media_id: str) -> None:
    link = get(f"{uno.url}/v15.0/{media_id}").json()["url"]

    for token in (None, TOKEN, "anything"):
        answer = get(link, token=token)
        assert (answer.status_code, answer.content) == (200, PNG)
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["Content-Length"] == str(len(PNG))
        assert answer.headers["Content-Disposition"] == 'attachment; filename="dot.png"'
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_without_the_signature_it_takes_the_token_of_that_number(uno: Stack, media_id: str) -> None:
    link = get(f"{uno.url}/v15.0/{media_id}").json()["url"]
    bare, forged = link.partition("?")[0], link[:-3] + "xyz"

    assert get(bare).content == PNG
    assert get(bare, token=OPERATOR).content == PNG
    for url in (bare, forged):
        for token, status in ((None, 401), ("wrong", 401), (OTHER_TOKEN, 400)):
            assert get(url, token=token).status_code == status


def test_another_number_neither_sees_nor_deletes_it(uno: Stack, media_id: str) -> None:
    for token, status in ((None, 401), ("wrong", 401), (OTHER_TOKEN, 400)):  # to a good token it is nobody's
        assert get(f"{uno.url}/v15.0/{media_id}", token=token).status_code == status
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        assert requests.delete(f"{uno.url}/v15.0/{media_id}", headers=headers, timeout=10).status_code == status
    assert get(f"{uno.url}/v15.0/{OTHER}/{media_id}", token=OTHER_TOKEN).status_code == 400
    assert get(f"{uno.url}/v15.0/{media_id}").status_code == 200


def test_a_deleted_file_is_gone(uno: Stack, media_id: str) -> None:
    link = get(f"{uno.url}/v15.0/{media_id}").json()["url"]

    answer = requests.delete(f"{uno.url}/v15.0/{media_id}", headers={"Authorization": TOKEN}, timeout=10)

    assert answer.json() == {"success": True}
    for url in (f"{uno.url}/v15.0/{media_id}", link):
        gone = get(url)
        assert gone.status_code == 400
        assert gone.json()["error"]["code"] == 100


@pytest.mark.parametrize("wrong", ["314199999999999999999999", f"{PHONE}-UNO.OUT.NONE"])
def test_an_unknown_file_is_no_matter_of_tokens(uno: Stack, wrong: str) -> None:
    assert get(f"{uno.url}/v15.0/{wrong}").status_code == 400
    assert get(f"{uno.url}/v15.0/{wrong}", token=None).status_code == 401


def test_another_number_id_than_the_files_is_an_error(uno: Stack, media_id: str) -> None:
    assert get(f"{uno.url}/v15.0/{media_id}?phone_number_id=123").status_code == 400


@pytest.mark.parametrize(
    ("name", "mime_type", "form", "expected"),
    [
        ("blob", "image/png", {}, "image/png"),
        ("a.pdf", "", {"messaging_product": "whatsapp"}, "application/pdf"),
        ("a.bin", "application/octet-stream", {"type": "audio/ogg"}, "audio/ogg"),
        ("C:\\Users\\x\\a.txt", "text/plain", {"type": "document"}, "text/plain"),
        ("/some/where/unknown", "", {}, "application/octet-stream"),
    ],
)
def test_the_type_is_found_however_the_client_names_it(
    uno: Stack, name: str, mime_type: str, form: dict[str, str], expected: str
) -> None:
    """Where its bytes tell none."""
    media_id = upload(uno, b"bytes", name=name, mime_type=mime_type, form=form).json()["id"]

    described = get(f"{uno.url}/v15.0/{media_id}").json()

    assert described["mime_type"] == expected
    assert "/" not in described.get("filename", "")
    assert "\\" not in described.get("filename", "")


def test_a_file_over_the_limit_of_its_type_is_refused(uno: Stack) -> None:
    refused = upload(uno, b"x" * (5 * 1_048_576 + 1))
    fits = upload(uno, b"x" * (5 * 1_048_576))

    assert (refused.status_code, refused.json()["error"]["code"]) == (400, 131053)
    assert fits.status_code == 200


@pytest.mark.parametrize(
    "request_",
    [
        {"data": {"messaging_product": "whatsapp"}},
        {"json": {"file": "x"}},
        {"data": b"--broken", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        {},
    ],
)
def test_an_upload_without_a_file_is_refused(uno: Stack, request_: dict[str, Any]) -> None:
    headers = {"Authorization": TOKEN, **request_.pop("headers", {})}

    answer = requests.post(f"{uno.url}/v15.0/{PHONE}/media", headers=headers, timeout=10, **request_)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "file",
    [
        "../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/secret", "..", ".unfinished", "a/b",
        "/etc/passwd", "a\\..\\b", "a%00.png", "%2fetc%2fpasswd", "x" * 300, "..\\secret", "a..png",
    ],
)  # fmt: skip
def test_no_download_leaves_the_folder(uno: Stack, file: str) -> None:
    (uno.folder / "secret").write_text("secret")
    raw = requests.Request("GET", uno.url, headers={"Authorization": f"Bearer {OPERATOR}"}).prepare()
    raw.url = f"{uno.url}/v15.0/download/{PHONE}/{file}"

    with requests.Session() as session:
        answer = session.send(raw, timeout=10)

    assert answer.status_code in (400, 404)
    assert "secret" not in answer.text
    assert "root:" not in answer.text


@pytest.mark.parametrize(
    ("media_id", "name", "shown"),
    [
        ("wa.1", f"{PHONE}/wa.1.txt", "wa.1.txt"),
        ("3EB0C431C26A1916E07A", "Nota fiscal.txt", "Nota fiscal.txt"),
    ],
)
def test_what_the_node_version_saved_is_served(
    uno: Stack, servers: PrivateServers, media_id: str, name: str, shown: str
) -> None:
    note = {
        "messaging_product": "whatsapp",
        "mime_type": "text/plain",
        "id": f"{PHONE}/{media_id}",
        "filename": name,
    }
    redis.Redis.from_url(servers.redis_url).set(f"unoapi-media:{PHONE}:{media_id}", json.dumps(note))
    folder = uno.folder / "data" / "medias" / PHONE
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{media_id}.txt").write_text("content")

    for path in (f"{PHONE}/{media_id}", f"{PHONE}-{media_id}"):
        described = get(f"{uno.url}/v15.0/{path}").json()
        assert described["id"] == f"{PHONE}/{media_id}"
        assert described["url"].partition("?")[0] == f"{uno.url}/v15.0/download/{PHONE}/{media_id}.txt"
    answer = get(f"{uno.url}/v15.0/download/{PHONE}/{media_id}.txt")
    assert answer.text == "content"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{shown}"'
    assert "text/plain" in answer.headers["Content-Type"]


def test_a_message_may_hold_an_uploaded_file_and_no_other(uno: Stack, media_id: str) -> None:
    def send(image: dict[str, str]) -> requests.Response:
        return uno.post(f"/v15.0/{PHONE}/messages", {"to": CONTACT, "type": "image", "image": image}, token=TOKEN)

    foreign = upload(uno, phone=OTHER, token=OTHER_TOKEN).json()["id"]

    assert send({"id": media_id}).status_code == 200
    for wrong in (foreign, "314199999999999999999999", "1"):
        refused = send({"id": wrong})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, 131009)


def test_100_mb_go_up_and_down_without_passing_through_the_memory(uno: Stack, tmp_path: Path) -> None:
    size, most = 100 * 1_048_576, 0.0
    source = tmp_path / "large.bin"
    with source.open("wb") as file:
        for number in range(100):
            file.write(bytes([number]) * 1_048_576)
    (web,) = [process for process in uno.processes if process.log.name.startswith("web")]
    family = [psutil.Process(web.pid), *psutil.Process(web.pid).children(recursive=True)]
    done = threading.Event()

    def measure() -> None:
        nonlocal most
        while not done.wait(0.05):
            most = max(most, *(member.memory_info().rss / 1e6 for member in family))

    watcher = threading.Thread(target=measure)
    watcher.start()
    try:
        body = tmp_path / "body"
        with body.open("wb") as target, source.open("rb") as large:
            target.write(b'--b\r\nContent-Disposition: form-data; name="file"; filename="l.zip"\r\n\r\n')
            shutil.copyfileobj(large, target)
            target.write(b"\r\n--b--\r\n")
        with body.open("rb") as stream:
            up = requests.post(
                f"{uno.url}/v15.0/{PHONE}/media",
                data=stream,
                headers={"Authorization": TOKEN, "Content-Type": "multipart/form-data; boundary=b"},
                timeout=120,
            )
        assert up.status_code == 200, up.text
        link = get(f"{uno.url}/v15.0/{up.json()['id']}").json()
        digest, came = hashlib.sha256(), 0
        with requests.get(link["url"], stream=True, timeout=120) as down:
            for chunk in down.iter_content(1_048_576):
                digest.update(chunk)
                came += len(chunk)
    finally:
        done.set()
        watcher.join()

    assert (came, link["file_size"]) == (size, size)
    assert digest.hexdigest() == link["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert most < 150


def test_an_upload_cut_off_by_a_kill_leaves_nothing(servers: PrivateServers, tmp_path: Path) -> None:
    with stack(servers, tmp_path) as own:
        web = own.web()
        own.register([{"id": "main", "urlAbsolute": "http://127.0.0.1:1/"}])

        head = (
            f"POST /v15.0/{PHONE}/media HTTP/1.1\r\nHost: x\r\nAuthorization: {TOKEN}\r\nContent-Length: 90000000\r\n"
        )
        with socket.create_connection(("127.0.0.1", own.port)) as client:
            client.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode())
            client.sendall(b'--b\r\nContent-Disposition: form-data; name="file"; filename="l"\r\n\r\n')
            client.sendall(b"x" * 5_000_000)
            time.sleep(0.3)
            web.kill()

        left = [path for path in (tmp_path / "data").rglob("*") if path.is_file() and ".unfinished" not in path.parts]
        assert left == []


# --- voice notes ---


@pytest.fixture(scope="module")
def ffmpeg() -> str:
    try:
        find_or_install(FFMPEG)
    except ConfigurationError as error:
        pytest.skip(f"{error}")
    return str(shutil.which("ffmpeg"))


@pytest.fixture(scope="module")
def sounds(ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of files: /a.mp3 is a second of sound, /text.mp3 is none, /away is refused."""
    sound = tmp_path_factory.mktemp("sounds") / "a.mp3"
    source = ["-f", "lavfi", "-i", "sine=frequency=440:duration=1"]
    subprocess.run([ffmpeg, "-loglevel", "error", *source, str(sound)], check=True, timeout=60)
    files = {"/a.mp3": sound.read_bytes(), "/text.mp3": b"no sound"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = files.get(self.path)
            self.send_response(200 if data else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@contextmanager
def listener() -> Iterator[tuple[int, list[object]]]:
    """A port, and what connected to it."""
    came: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, address = server.accept()
                    came.append(address)
                    connection.close()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1], came


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{place}\n#EXT-X-ENDLIST\n"
DASH = (
    '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"><Period><AdaptationSet>'
    '<Representation id="1" mimeType="audio/mp4"><BaseURL>{place}</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>"
)
HOSTILE_SOUNDS = {
    "a playlist": HLS,
    "a list to join": "ffconcat version 1.0\nfile '{place}'\n",
    "a manifest": DASH,
    "a list of lists": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{place}\n",
}


@pytest.mark.parametrize("hostile", HOSTILE_SOUNDS)
@pytest.mark.parametrize("names", ["an address", "a file"])
def test_a_file_that_names_others_opens_none_of_them(ffmpeg: str, tmp_path: Path, hostile: str, names: str) -> None:
    """Neither an address inside nor the file of another session."""
    others, source, target = tmp_path / "others.wav", tmp_path / "source", tmp_path / "voice.ogg"
    sound = ["-f", "lavfi", "-i", "sine=frequency=440:duration=1"]
    subprocess.run([ffmpeg, "-loglevel", "error", *sound, str(others)], check=True, timeout=60)

    with listener() as (port, came):
        place = str(others) if names == "a file" else f"http://127.0.0.1:{port}/a.wav"
        source.write_text(HOSTILE_SOUNDS[hostile].format(place=place))
        with pytest.raises(ConversionFailed, match="could not read"):
            to_voice(source, target)

    assert came == []
    assert not target.exists() or target.stat().st_size == 0


def steps_of(uno: Stack, message_id: str) -> list[tuple[str, str]]:
    answer = uno.get(f"/v15.0/{PHONE}/messages/{message_id}/trace").json()
    return [(entry["step"], entry.get("detail", "")) for entry in answer.get("trace", [])]


@pytest.mark.parametrize(
    ("path", "detail"),
    [("/a.mp3", "converted to a voice note"), ("/text.mp3", "could not read"), ("/away", "HTTP 404")],
)
def test_a_voice_note_is_converted_or_sent_as_it_came(uno: Stack, sounds: str, path: str, detail: str) -> None:
    body = {"to": CONTACT, "type": "audio", "audio": {"link": f"{sounds}{path}", "voice": True}}

    message_id = uno.post(f"/v15.0/{PHONE}/messages", body).json()["messages"][0]["id"]

    eventually(lambda: ("sent", "") in steps_of(uno, message_id))
    assert any(step == "queued" and detail in shown for step, shown in steps_of(uno, message_id))
