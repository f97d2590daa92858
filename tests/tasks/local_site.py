"""A server on this machine that serves parts, or none, breaks off, changes its mind or sends pages."""

import http.server
import random
import re
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field

CONTENT = random.Random(0).randbytes(300_000)  # more than two pieces of a download
NAME = "data.tar.gz"
HANGS_UP = (0,) * 9  # breaks off again and again


@dataclass
class Archive:
    url: str
    filename: str = NAME
    size: int | None = None
    md5: str | None = None


@dataclass
class Site:
    """What the server sends, and what it was asked."""

    content: bytes = CONTENT
    etag: str | None = '"first"'
    modified: str | None = None
    kind: str = "application/gzip"
    ranges: bool = True
    looks_at_if_range: bool = True
    total: int | None = None  # bytes that it claims to have, None: as many as there are
    says_length: bool = True
    cuts: tuple[int, ...] = ()  # bytes after which each of the next answers breaks off
    statuses: tuple[int, ...] = ()  # of the next answers
    location: str = ""  # that statuses of 300 lead to
    pause: threading.Event | None = None  # that is waited for in the middle of an answer
    url: str = ""
    asked: list[str | None] = field(default_factory=list)  # Range of each request
    sent: list[int] = field(default_factory=list)  # bytes

    def archive(self, **known) -> Archive:
        return Archive(self.url, **known)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        site: Site = self.server.site
        assert self.headers["Accept-Encoding"] == "identity"
        site.asked.append(self.headers["Range"])
        status, *site.statuses = site.statuses or (200,)
        start = self.start(site) if status == 200 else None
        if status == 200 and start is not None:
            status = 206 if start < len(site.content) else 416
        headers = {"ETag": site.etag, "Last-Modified": site.modified, "Content-Type": site.kind}
        headers["Location"] = site.location or None
        body = site.content[start or 0 :] if status < 300 else b""
        total = site.total or len(site.content)
        if status in (206, 416):
            headers["Content-Range"] = f"bytes {'*' if status == 416 else f'{start}-{total - 1}'}/{total}"
        if site.says_length and status < 300:
            headers["Content-Length"] = str(total - (start or 0))
        if status < 300:
            cut, *site.cuts = site.cuts or (None,)
            body = body[:cut]
        site.sent.append(len(body))
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        middle = len(body) // 2
        self.wfile.write(body[:middle])
        if site.pause is not None:
            assert site.pause.wait(30)
        self.wfile.write(body[middle:])

    def start(self, site):
        """First byte of the part that is asked for and given."""
        condition = self.headers["If-Range"]
        if self.headers["Range"] is None or not site.ranges:
            return None
        if site.looks_at_if_range and condition not in (None, site.etag, site.modified):
            return None
        return int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1])

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # closing waits for them
    problems: list = []

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):  # a client may hang up
            self.problems.append(sys.exception())


@contextmanager
def serve(site, context=None):
    with Server(("127.0.0.1", 0), Handler) as server:
        server.site, server.problems = site, []
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        site.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_address[1]}/{NAME}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
    assert server.problems == []


def sentence(caught) -> str:
    """The message of an error, which is one line."""
    text = str(caught.value)
    assert "\n" not in text
    return text
