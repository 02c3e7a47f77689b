"""Delivery over the wire: a web server and a mail server on 127.0.0.1 that do wrong what such servers do wrong."""

import json
import socket
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from kiln_pipeline.adapters import mail, webhook
from kiln_pipeline.adapters.mail import Mail
from kiln_pipeline.adapters.webhook import Webhook
from kiln_pipeline.errors import DeliveryError


class Chat:
    """A webhook: keeps what it is told; answers with `status`, or not at all when that is 0."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.status = 200
        chat = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if chat.status == 0:
                    self.connection.close()
                    return
                if chat.status == 200:
                    chat.told.append(json.loads(body))
                self.send_response(chat.status)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.end_headers()

            def log_message(self, *_: object) -> None:  # type: ignore[override]
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/services/SECRET"


@pytest.fixture
def chat() -> Iterator[Chat]:
    chat = Chat()
    thread = Thread(target=chat.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield chat
    chat.server.shutdown()
    chat.server.server_close()
    thread.join()


def test_a_chat_gets_slacks_json_and_a_log_line_calls_nobody(chat: Chat) -> None:
    Webhook("team", chat.url).send("kiln: builds fail", "error: <!channel> & more")
    assert chat.told == [{"text": "*kiln: builds fail*\nerror: &lt;!channel&gt; &amp; more"}]


@pytest.mark.parametrize("status", [0, 302, 404, 429, 500])
def test_a_chat_that_refuses_is_an_error_without_its_address(chat: Chat, status: int) -> None:
    chat.status = status
    with pytest.raises(DeliveryError, match="alerts to team: the webhook") as caught:
        Webhook("team", chat.url).send("s", "t")
    assert "SECRET" not in str(caught.value)


def test_nobody_waits_long_for_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "_SECONDS", 0.1)
    monkeypatch.setattr(mail, "_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(DeliveryError, match="does not answer"):
            Webhook("team", f"http://127.0.0.1:{port}/").send("s", "t")
        with pytest.raises(DeliveryError, match="timed out"):
            post(port).send("s", "t")


class Mailbox:
    """Keeps mails; answers the recipient with `refusal` when there is one."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.refusal = ""

    async def handle_RCPT(self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]) -> str:
        envelope.rcpt_tos.append(address)
        return self.refusal or "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content, policy=default))
        return "250 OK"


def post(port: int, user: str = "") -> Mail:
    return Mail("mail", to="m@example.org", sender="k@example.org", smtp=f"smtp://{user}127.0.0.1:{port}", password="p")


def test_people_get_a_mail(unused_port: int) -> None:
    box = Mailbox()
    server = Controller(box, hostname="127.0.0.1", port=unused_port)
    server.start()
    try:
        post(unused_port).send("kiln: builds fail\nBcc: x@example.org", "missing-header: ångström\n.\nend")
        box.refusal = "550 no such mailbox"
        with pytest.raises(DeliveryError, match="no such mailbox"):
            post(unused_port).send("s", "t")
        with pytest.raises(DeliveryError, match="no password is sent without"):
            post(unused_port, "kiln@").send("s", "t")
    finally:
        server.stop()
    (message,) = box.mails
    assert (message["Subject"], message["To"], message["Bcc"]) == (
        "kiln: builds fail Bcc: x@example.org",
        "m@example.org",
        None,
    )
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content().replace("\r\n", "\n") == "missing-header: ångström\n.\nend\n"
    with pytest.raises(DeliveryError, match="refused"):
        post(unused_port).send("s", "t")


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
