"""Tells a chat through its incoming webhook, with the JSON that Slack takes, and Mattermost, Rocket.Chat and others with it."""

import requests

from kiln_pipeline.errors import DeliveryError

_SECONDS = 10.0


class Webhook:
    """An `AlertChannel`. The address is a secret: no error and no log shows more than its host."""

    def __init__(self, name: str, url: str) -> None:
        self._name, self._url = name, url

    def send(self, subject: str, text: str) -> None:
        body = {"text": f"*{_escaped(subject)}*\n{_escaped(text)}"}
        try:
            answer = requests.post(self._url, json=body, timeout=_SECONDS, allow_redirects=False, stream=True)
        except requests.RequestException as error:
            reason = f"the webhook does not answer ({type(error).__name__})"
            raise DeliveryError(channel=self._name, reason=reason) from None
        with answer:
            if not 200 <= answer.status_code < 300:
                raise DeliveryError(channel=self._name, reason=f"the webhook answered {answer.status_code}")


def _escaped(text: str) -> str:
    """Return the text as Slack shows it literally: a line of a log can call nobody (``<!channel>``)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
