"""What stands between the gateway and an issuer: lets everything through, until it is told otherwise."""

import contextlib
import re
import socket
import threading


class Between:
    """A proxy on loopback. Pieces are counted from `aim` on, in both directions together."""

    def __init__(self, port):
        self.target, self.mode, self.lock = port, "pass", threading.Lock()
        self.at, self.count, self.reached, self.go, self.is_dropped = None, 0, threading.Event(), threading.Event(), False
        self.listener, self.open = None, set()
        self.port = None
        self.up()

    def up(self):
        """It can be reached."""
        self.listener = socket.create_server(("127.0.0.1", self.port or 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, args=(self.listener,), daemon=True).start()

    def down(self):
        """Nobody listens."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def aim(self, at):
        """Stands still at the piece of this number, and says so with `reached`."""
        with self.lock:
            self.at, self.count = at, 0
            self.reached, self.go = threading.Event(), threading.Event()

    def release(self, is_dropped):
        """What was held goes on its way, or is lost."""
        with self.lock:
            self.at, self.is_dropped = None, is_dropped
            self.go.set()

    def _serve(self, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(near,), daemon=True).start()

    def _one(self, near):
        if self.mode == "slow":
            self.open.add(near)
            return
        if callable(self.mode) or self.mode == "generous":
            with contextlib.suppress(OSError):  # whoever asked has heard enough
                self._answer(near)
            near.close()
            return
        try:
            far = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            near.close()
            return
        for one in (near, far):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._pump, args=(near, far), daemon=True).start()
        self._pump(far, near)

    def _pump(self, source, sink):
        try:
            while piece := source.recv(65536):
                with self.lock:
                    self.count += 1
                    is_held, reached, go = self.count == self.at, self.reached, self.go
                if is_held:
                    reached.set()
                    go.wait(60)
                    if self.is_dropped:
                        break
                sink.sendall(piece)
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _answer(self, near):
        """One request over HTTP, and what is answered to it; for what does not speak HTTP, the same bytes."""
        asked = near.recv(65536)
        if callable(self.mode):
            near.sendall(self.mode(asked))
        else:
            far = socket.create_connection(("127.0.0.1", self.target))
            far.sendall(asked.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))
            answer = b"".join(iter(lambda: far.recv(65536), b""))
            head, _, body = answer.partition(b"\r\n\r\n")
            if b"/auth/token/create" in asked:
                body = re.sub(rb'"lease_duration":\d+', b'"lease_duration":86400', body)
            head = re.sub(rb"(?i)content-length: \d+", b"content-length: %d" % len(body), head)
            near.sendall(head + b"\r\n\r\n" + body)
        near.shutdown(socket.SHUT_RDWR)


def http(status, body, *headers):
    """An answer that is always the same."""
    lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}", "connection: close"]
    whole = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
    return lambda _: whole
