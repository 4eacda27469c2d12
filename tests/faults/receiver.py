"""A webhook that takes messages, in a thread; or refuses them for a while."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.faults.serving import Handler, Server, Serving

_NUMBER = re.compile(r"Message (\d+) of HITL Bridge\.")


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came in, at the path of its channel."""

    channel: str
    title: str
    body: str

    @property
    def number(self) -> int:
        found = _NUMBER.search(self.body)
        return int(found[1]) if found else 0


class Receiver(Serving):
    """`received` is what was taken. While `refuses`, everything is answered 503."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.refuses = False
        self.asked = 0
        outer = self

        class Webhook(Handler):
            def do_POST(self) -> None:
                body: Any = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked += 1
                if not outer.refuses:
                    outer.received.append(Received(self.path.strip("/"), body["title"], body["message"]))
                self.send_response(503 if outer.refuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

        super().__init__(Server(Webhook))

    def address(self, channel: str) -> str:
        """As it stands in `.hitl/notices`."""
        return f"{channel} json://user:SECRET@127.0.0.1:{self._server.server_port}/{channel}"

    def counts(self) -> Counter[tuple[str, str]]:
        """How many items each channel was told of, by what was said of them; each message once."""
        found: Counter[tuple[str, str]] = Counter()
        for message in {each.number: each for each in self.received}.values():
            for line in message.body.splitlines():
                told = re.match(r"([\d,]+) items? (?:is|are|has|have|was|were) (.*?) \(", line)
                if told:
                    found[message.channel, told[2]] += int(told[1].replace(",", ""))
        return found
