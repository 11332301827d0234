"""TLS 1.3 and nothing older, on both sides of every connection.

gRPC for Python has no setting for the lowest TLS version. BoringSSL negotiates TLS 1.2 only with a cipher of the
configured list, and that list has no say in TLS 1.3. So the list is set to one pre-shared-key cipher, for which nobody
has a key: TLS 1.2 cannot be agreed upon, whatever the certificate's type. A test proves it with openssl.
"""

import os


def prepare_grpc() -> None:
    """Set gRPC's environment; must be called before grpc is imported for the first time."""
    os.environ["GRPC_SSL_CIPHER_SUITES"] = "ECDHE-PSK-AES128-CBC-SHA"
    # Its C++ core logs failed handshakes to stderr, past our own log; what matters reaches us as a status.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
