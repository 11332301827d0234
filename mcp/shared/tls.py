"""TLS 1.3 as the minimum, on both sides of every connection.

gRPC for Python has no setting for the minimum TLS version. BoringSSL negotiates TLS 1.2 only with a cipher of the
configured list, which does not apply to TLS 1.3. The list is therefore one pre-shared-key cipher, for which nobody has
a key: TLS 1.2 cannot be negotiated, whatever the type of the certificate. A test proves it with openssl.
"""

import os


def prepare_grpc() -> None:
    """Set gRPC's environment; must be called before grpc is imported for the first time."""
    os.environ["GRPC_SSL_CIPHER_SUITES"] = "ECDHE-PSK-AES128-CBC-SHA"
    # The C++ core logs failed handshakes to stderr, bypassing our log; errors reach us as a status.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
