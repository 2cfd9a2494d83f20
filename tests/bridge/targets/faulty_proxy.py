"""A reverse proxy that misbehaves as it is told, before a real MLflow server."""

import http.client
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to a request.

    Attributes:
        status: the answer; None stands for none at all: the connection is reset.
        after: whether the server gets the request, and does it, before.
        late_s: how much later than usual the server's own answer comes; with it, nothing else happens.
    """

    status: int | None = None
    after: bool = False
    late_s: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A request, as the proxy sees it; ``number`` counts from 1."""

    number: int
    method: str
    path: str
    length: int
    authorization: str = ""


Plan = Callable[[Seen], Fault | None]


@dataclass
class FaultyProxy:
    """A running proxy.

    Attributes:
        plan: what happens to each request; may be replaced at any time.
        faults: how many requests it has spoilt.
    """

    uri: str
    plan: Plan
    seen: list[Seen] = field(default_factory=list)
    faults: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)

    def meet(self, method: str, path: str, length: int, authorization: str) -> Fault | None:
        """What happens to a request."""
        with self.lock:
            number = len(self.seen) + 1
            one = Seen(number=number, method=method, path=path, length=length, authorization=authorization)
            self.seen.append(one)
            fault = self.plan(one)
            self.faults += fault is not None
            return fault


@contextmanager
def faulty_proxy(
    server: str, plan: Plan = lambda seen: None, *, port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[FaultyProxy]:
    """A proxy on a free port, or on ``port``."""
    upstream = urlsplit(server)

    class Handler(_Handler):
        host, port = upstream.hostname or "", upstream.port or 80

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 64

        def handle_error(self, request: object, client_address: object) -> None:
            """Clients go away: that is what the tests are about."""

    with Server(("127.0.0.1", port), Handler) as httpd:
        if tls:
            httpd.socket = tls.wrap_socket(httpd.socket, server_side=True)
        scheme = "https" if tls else "http"
        proxy = FaultyProxy(uri=f"{scheme}://127.0.0.1:{httpd.server_port}", plan=plan)
        Handler.proxy = proxy
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.closing.set()
            httpd.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy
    host: str
    port: int
    timeout = 30

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        fault = self.proxy.meet(self.command, self.path, length, self.headers.get("Authorization", ""))
        body = self._body(length)
        if self.proxy.closing.is_set():
            self._reset()
            return
        if fault is None:
            self._answer(*self._forward(body))
            return
        answer = self._forward(body) if fault.after or fault.late_s else None
        if fault.late_s:
            assert answer is not None
            self.proxy.closing.wait(fault.late_s)
            self._answer(*answer)
        elif fault.status is None:
            self._reset()
        else:
            self._answer(fault.status, [("Content-Type", "text/html"), *fault.headers], b"<html>no</html>")

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _body(self, length: int) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(length)
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "transfer-encoding")}
            upstream.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            upstream.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        # With this, closing sends a reset instead of an orderly end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """Stay silent."""
