"""An issuer of bearer tokens on loopback: discovery, a key set, and tokens of any content.

Its keys are made when it starts and are gone when it ends. RS256 is a power of an integer (RFC 8017, 8.2), so no
library is needed to sign; that the local stack's library accepts it is part of what the tests show.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

_BITS = 2048
_EXPONENT = 65537
_SMALL = [number for number in range(3, 2000) if all(number % other for other in range(2, int(number**0.5) + 1))]
_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")
"""DigestInfo of SHA-256 in front of its 32 bytes (RFC 8017, 9.2)."""


@dataclass(frozen=True)
class Key:
    """An RSA key, and the name under which its public half is published."""

    name: str
    modulus: int
    private: int = field(repr=False)

    @classmethod
    def make(cls, name: str) -> "Key":
        """Make one."""
        while True:
            first, second = _prime(_BITS // 2), _prime(_BITS // 2)
            phi = (first - 1) * (second - 1)
            if first != second and phi % _EXPONENT:
                return cls(name, first * second, pow(_EXPONENT, -1, phi))

    def sign(self, content: bytes) -> bytes:
        """Sign with RSASSA-PKCS1-v1_5 and SHA-256."""
        size = (self.modulus.bit_length() + 7) // 8
        digest = _SHA256 + hashlib.sha256(content).digest()
        padded = b"\0\1" + b"\xff" * (size - len(digest) - 3) + b"\0" + digest
        return pow(int.from_bytes(padded, "big"), self.private, self.modulus).to_bytes(size, "big")

    def public(self) -> dict[str, str]:
        """Return the public half as a JSON Web Key."""
        modulus = self.modulus.to_bytes((self.modulus.bit_length() + 7) // 8, "big")
        exponent = _EXPONENT.to_bytes(3, "big")
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.name, "n": _text(modulus), "e": _text(exponent)}


@dataclass(frozen=True)
class Issuer:
    """Issues tokens.

    Attributes:
        url: Its name in tokens, and where it is.
        key: What it signs with.
    """

    url: str
    key: Key

    def token(self, claims: Mapping[str, Any], key: Key | None = None) -> str:
        """Return a token with exactly these claims and the issuer's name, signed with its key or with another one."""
        key = key or self.key
        header = {"alg": "RS256", "typ": "JWT", "kid": key.name}
        signed = ".".join(_text(json.dumps(part).encode()) for part in (header, {"iss": self.url, **claims}))
        return f"{signed}.{_text(key.sign(signed.encode()))}"


@contextmanager
def issuing() -> Iterator[Issuer]:
    """Serve an issuer for the length of a ``with`` block."""
    key = Key.make("key-1")
    documents: dict[str, Any] = {"/jwks": {"keys": [key.public()]}}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = documents.get(self.path)
            content = json.dumps(found or {}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    documents["/.well-known/openid-configuration"] = {"issuer": url, "jwks_uri": f"{url}/jwks"}
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Issuer(url, key)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _prime(bits: int) -> int:
    while True:
        # The two highest bits: a product of two has all its bits.
        found = secrets.randbits(bits) | (0b11 << (bits - 2)) | 1
        if all(found % small for small in _SMALL) and _is_prime(found):
            return found


def _is_prime(number: int) -> bool:
    """Miller and Rabin, 20 rounds."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(20):
        power = pow(secrets.randbelow(number - 3) + 2, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
