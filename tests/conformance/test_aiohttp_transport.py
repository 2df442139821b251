"""Every error that aiohttp may raise has a class of ours, and its text goes no further."""

import ssl
import traceback

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from asyncdl.errors import TransferError
from asyncdl.net.aiohttp_transport import foreign_errors
from asyncdl.net.resolve import PrivateAddressError

KEY = ConnectionKey("h", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)
REFUSED = OSError(111, "Connection refused")


@pytest.mark.parametrize(
    ("foreign", "error_class"),
    [
        (aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "unknown")), "dns"),
        (aiohttp.ClientConnectorDNSError(KEY, PrivateAddressError("inside")), "private_address"),
        (aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("expired")), "tls"),
        (aiohttp.ClientConnectorSSLError(KEY, OSError("handshake")), "tls"),
        (aiohttp.ClientConnectorError(KEY, REFUSED), "connect"),
        (aiohttp.ClientProxyConnectionError(KEY, REFUSED), "connect"),
        (aiohttp.ConnectionTimeoutError("Connection timeout to host https://h/x?sig=canary"), "timeout"),
        (aiohttp.SocketTimeoutError("Timeout on reading data from socket"), "stalled"),
        (TimeoutError(), "stalled"),
        (aiohttp.ClientPayloadError("not completed"), "short_body"),
        (aiohttp.ServerDisconnectedError(), "dropped"),
        (aiohttp.ClientOSError(104, "Connection reset by peer"), "dropped"),
        (aiohttp.ClientConnectionResetError("Cannot write to closing transport"), "dropped"),
        (ConnectionResetError(104, "Connection reset by peer"), "dropped"),
        (aiohttp.InvalidURL("https://h/x?sig=canary"), "odd_reply"),
        (aiohttp.ClientError("https://h/x?sig=canary"), "odd_reply"),
        (UnicodeError("label too long"), "dns"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_every_error_of_aiohttp_has_a_class_and_its_text_goes_no_further(foreign, error_class):
    with pytest.raises(TransferError) as caught, foreign_errors("h.test"):
        raise foreign
    assert caught.value.error_class == error_class
    assert "canary" not in "".join(traceback.format_exception(caught.value))
