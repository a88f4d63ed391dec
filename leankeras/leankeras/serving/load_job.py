"""Locust at work, in a process of its own: ``python -m leankeras.serving.load_job SPEC OUTPUT``.

Importing locust changes sockets and threads of the whole process (gevent), so no other module
imports this one. The specification is written by :mod:`leankeras.serving.load`.
"""

import json
import random
import sys
import time
from itertools import cycle
from pathlib import Path

import gevent
import numpy as np
from gevent.event import Event
from locust import FastHttpUser, task
from locust.env import Environment

CONNECTIONS = 2000  # of the open loop, at a time
SECONDS = 10.0  # for an answer


class Traffic:
    """What is sent, and what has come of it.

    Args:
        spec: ``url``, ``bodies`` (a file with one a line, or None to ask for the page alone),
            ``answers`` (a file of the same form, or None), ``order`` (of the bodies), ``seconds``.
    """

    def __init__(self, spec: dict) -> None:
        self.url, self._until = spec["url"], time.perf_counter() + spec["seconds"]
        self._bodies = Path(spec["bodies"]).read_bytes().splitlines() if spec["bodies"] else []
        answers = Path(spec["answers"]).read_bytes().splitlines() if spec["answers"] else []
        self._answers = [json.loads(line) for line in answers]
        self._order = cycle(spec["order"])
        self._seen: set[int] = set()
        self._at_work, self.finished = spec["users"] or 1, Event()
        self.rows: list[tuple[float, float, float, int, bool, bool]] = []

    @property
    def goes_on(self) -> bool:
        """Whether there is time for more requests."""
        return time.perf_counter() < self._until

    def leave(self) -> None:
        """End a user's work; what it waits for is the end of everybody's."""
        self._at_work -= 1
        if self._at_work == 0:
            self.finished.set()
        gevent.sleep(SECONDS)

    def ask(self, client, begun: float) -> None:
        """Send the next request; its time counts from when it was due."""
        late = time.perf_counter() - begun
        place = next(self._order)
        repeated = place in self._seen
        self._seen.add(place)
        if self._bodies:
            answer = client.post(self.url, data=self._bodies[place], name="infer")
        else:
            answer = client.get(self.url, name="page")
        wrong = (
            bool(self._answers) and answer.status_code == 200 and not self._is_right(answer, place)
        )
        self.rows.append(
            (begun, late, time.perf_counter() - begun, answer.status_code, wrong, repeated)
        )

    def _is_right(self, answer, place: int) -> bool:
        outputs = {each["name"]: each["data"] for each in answer.json()["outputs"]}
        return all(
            np.array_equal(np.float32(outputs[name]), np.float32(values))
            for name, values in self._answers[place].items()
        )


def closed_loop(traffic: Traffic) -> type[FastHttpUser]:
    """A user who sends the next request when the last one is answered."""

    class Waiting(FastHttpUser):
        host = traffic.url
        network_timeout = connection_timeout = SECONDS

        @task
        def ask(self) -> None:
            if traffic.goes_on:
                traffic.ask(self.client, time.perf_counter())
            else:
                traffic.leave()

    return Waiting


def open_loop(traffic: Traffic, rate: float) -> type[FastHttpUser]:
    """Requests that arrive at a rate, whether or not the earlier ones are answered (Poisson)."""

    class Arriving(FastHttpUser):
        host = traffic.url
        network_timeout = connection_timeout = SECONDS
        concurrency = CONNECTIONS

        @task
        def arrive(self) -> None:
            gaps = random.Random(0)
            due, sent = time.perf_counter(), []
            while traffic.goes_on:
                due += gaps.expovariate(rate)
                gevent.sleep(max(0.0, due - time.perf_counter()))
                sent.append(gevent.spawn(traffic.ask, self.client, due))
            gevent.joinall(sent)
            traffic.leave()

    return Arriving


def main(specification: str, output: str) -> None:
    """Send the traffic and keep a row for each request."""
    spec = json.loads(Path(specification).read_text())
    traffic = Traffic(spec)
    rate, users = spec["rate"], spec["users"]
    kind = open_loop(traffic, rate) if rate else closed_loop(traffic)
    environment = Environment(user_classes=[kind])
    runner = environment.create_local_runner()
    start = time.perf_counter()
    runner.start(users or 1, spawn_rate=users or 1)
    traffic.finished.wait()
    runner.quit()
    names = ("begun", "late", "seconds", "status", "wrong", "repeated")
    columns = dict(zip(names, map(np.array, zip(*traffic.rows, strict=True)), strict=True))
    np.savez(output, **columns | {"start": start})


if __name__ == "__main__":
    main(*sys.argv[1:])
