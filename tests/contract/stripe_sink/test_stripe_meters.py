"""What the adapter makes of everything a network can do to an answer, byte by byte."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from services.stripe_sink.adapters.stripe_meters import StripeMeters
from services.stripe_sink.core.dispatch_outcome import Asked, OutcomeClass, Reached, classify

BODY = {"event_name": "tokens", "identifier": "trueup-1", "payload": {"stripe_customer_id": "cus_1", "value": "5"}, "timestamp": 1}
EVENT = json.dumps({"object": "billing.meter_event", "identifier": "trueup-1", "livemode": False, "payload": {}}).encode()
ASKED = Asked("trueup-1", livemode=False, earlier_may_have_arrived=False)
Serve = Callable[[bytes | None], str]


def make_response(status: int, body: bytes, *, kind: str = "application/json", length: int | None = None) -> bytes:
    """An HTTP answer, whose length may be a lie."""
    head = f"HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nRequest-Id: req_1\r\nContent-Length: {len(body) if length is None else length}"
    return head.encode() + b"\r\nConnection: close\r\n\r\n" + body


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answers one call with given bytes; None never answers."""
    opened: list[socket.socket] = []
    answering: list[threading.Thread] = []

    def start(answer: bytes | None) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        opened.append(listener)

        def run() -> None:
            connection, _ = listener.accept()
            opened.append(connection)
            connection.recv(65_536)
            if answer is not None:
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)

        answering.append(threading.Thread(target=run, daemon=True))
        answering[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    # What it opened is closed only once it is done with it.
    for thread in answering:
        thread.join(10)
    for one in opened:
        one.close()


def make_meters(url: str) -> StripeMeters:
    """An adapter that waits half a second at most."""
    return StripeMeters("sk_test_x", url, connect_timeout_seconds=0.5, read_timeout_seconds=0.5)


def test_good_answer_is_decoded_whole(serve: Serve) -> None:
    """Status, body and request id, for the record."""
    answer = make_meters(serve(make_response(200, EVENT))).send(BODY, "trueup-1")
    assert (answer.reached, answer.http_status, answer.request_id) == (Reached.ANSWERED, 200, "req_1")
    assert classify(answer, ASKED).outcome is OutcomeClass.ACK


@pytest.mark.parametrize("cut", [0, 5, 20, 80, 120, len(make_response(200, EVENT)) - 1])
def test_answer_that_breaks_off_anywhere_is_unknown(serve: Serve, cut: int) -> None:
    """Half an answer proves neither that it arrived nor that it did not."""
    answer = make_meters(serve(make_response(200, EVENT)[:cut])).send(BODY, "trueup-1")
    decision = classify(answer, ASKED)
    assert (decision.outcome, decision.may_have_arrived) == (OutcomeClass.UNKNOWN, True), answer


@pytest.mark.parametrize(
    "answer",
    [
        make_response(200, b"<html>welcome to the hotel</html>", kind="text/html"),
        make_response(200, EVENT[:40], length=40),
        make_response(400, b"<html>bad</html>", kind="text/html"),
        make_response(502, b"<html>bad gateway</html>", kind="text/html"),
        make_response(200, b"\xff\xfe\xff"),
        None,
    ],
)
def test_answer_that_is_not_stripes_is_unknown(serve: Serve, answer: bytes | None) -> None:
    """A proxy's page, a torn document, or silence."""
    decision = classify(make_meters(serve(answer)).send(BODY, "trueup-1"), ASKED)
    assert (decision.outcome, decision.may_have_arrived) == (OutcomeClass.UNKNOWN, True)


def test_refused_connection_did_not_arrive() -> None:
    """Nobody listens: the horizon does not begin."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    answer = make_meters(f"http://127.0.0.1:{port}").send(BODY, "trueup-1")
    assert answer.reached is Reached.NOT_CONNECTED
    assert classify(answer, ASKED).outcome is OutcomeClass.RETRY


def test_unknown_host_did_not_arrive() -> None:
    """No such name: nothing was sent."""
    assert make_meters("http://stripe.invalid:1").send(BODY, "trueup-1").reached is Reached.NOT_CONNECTED


def test_connection_that_cannot_be_opened_in_time_did_not_arrive() -> None:
    """A full backlog: the handshake is never finished."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        answer = make_meters(f"http://127.0.0.1:{address[1]}").send(BODY, "trueup-1")
        for one in waiting:
            one.close()
    assert answer.reached is Reached.NOT_CONNECTED


def test_reset_after_the_request_was_sent_is_unknown() -> None:
    """The peer read all of it and then sent RST."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reset() -> None:
            connection, _ = listener.accept()
            connection.recv(65_536)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

        threading.Thread(target=reset, daemon=True).start()
        answer = make_meters(f"http://127.0.0.1:{listener.getsockname()[1]}").send(BODY, "trueup-1")
    assert answer.reached is Reached.LOST


def test_error_of_stripe_keeps_its_code_and_words(serve: Serve) -> None:
    """What is stored as evidence is what Stripe said."""
    body = json.dumps({"error": {"type": "invalid_request_error", "code": "x", "message": "no"}}).encode()
    answer = make_meters(serve(make_response(409, body))).send(BODY, "trueup-1")
    assert (answer.http_status, answer.error("code"), answer.error("message"), answer.request_id) == (409, "x", "no", "req_1")
