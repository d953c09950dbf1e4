"""Clients that speak HTTP byte by byte."""

from __future__ import annotations

import socket

from devstack.places import LOOPBACK


def head(port: int, *lines: str, path: str = "/v1/events", method: str = "POST") -> socket.socket:
    """A connection on which the head of a request was sent."""
    connection = socket.create_connection((LOOPBACK, port), timeout=30)
    connection.sendall("\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *lines, "", "")).encode())
    return connection


def begun(port: int, beginning: bytes) -> socket.socket:
    """A connection on which the beginning of a head was sent."""
    connection = socket.create_connection((LOOPBACK, port), timeout=30)
    connection.sendall(beginning)
    return connection


def status_of(connection: socket.socket) -> int:
    """The status of the answer, which is read to its end: it may come in pieces. 0 when the other side hung up without one."""
    answer = b""
    while (missing := missing_of(answer)) > 0:
        piece = connection.recv(missing)
        if not piece:
            break
        answer += piece
    return int(answer.split()[1]) if answer else 0


def missing_of(answer: bytes) -> int:
    """How much more may be read of an answer without reading beyond its end."""
    start, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return 1
    said = [line.partition(b":")[2] for line in start.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(said[0]) - len(body) if said else 0
