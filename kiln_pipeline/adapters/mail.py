"""Tells people by mail, over SMTP."""

import smtplib
import ssl
from contextlib import closing
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from urllib.parse import unquote, urlsplit

from kiln_pipeline.errors import DeliveryError

_SECONDS = 10.0


class Mail:
    """An `AlertChannel` over ``smtp://[user@]host[:port]``, with STARTTLS where the server has it, or ``smtps://``.

    A password is sent over TLS alone.
    """

    def __init__(self, name: str, *, to: str, sender: str, smtp: str, password: str) -> None:
        self._name, self._to, self._sender, self._password = name, to, sender, password
        self._server = urlsplit(smtp)

    def send(self, subject: str, text: str) -> None:
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = " ".join(subject.split()), self._sender, self._to
        message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain=self._sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
        message.set_content(text)
        try:
            self._deliver(message)
        except (OSError, smtplib.SMTPException) as error:
            raise DeliveryError(channel=self._name, reason=f"{self._server.hostname}: {_reason(error)}") from None

    def _deliver(self, message: EmailMessage) -> None:
        host, port, context = self._server.hostname or "", self._server.port or 0, ssl.create_default_context()
        if self._server.scheme == "smtps":
            client = smtplib.SMTP_SSL(host, port, timeout=_SECONDS, context=context)
        else:
            client = smtplib.SMTP(host, port, timeout=_SECONDS)
        with closing(client):
            client.ehlo()
            secure = self._server.scheme == "smtps"
            if not secure and client.has_extn("starttls"):
                client.starttls(context=context)
                secure = True
            if self._server.username:
                if not secure:
                    raise smtplib.SMTPException("it offers no TLS, and no password is sent without")
                client.login(unquote(self._server.username), self._password)
            client.send_message(message)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return text or type(error).__name__
