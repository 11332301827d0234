"""Why an agent cannot be reached. Asked only after a call has failed: gRPC's own words are for its authors."""

import socket

CONNECT_TIMEOUT = 5.0  # seconds


def why_unreachable(address: str, ca: bytes | None) -> str:
    """Connect once more and say in one line what is in the way, or an empty string where nothing is now."""
    import ssl  # slow to import, and only needed here

    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        context = ssl.create_default_context(cadata=ca.decode("ascii", "replace") if ca else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host, int(port)), CONNECT_TIMEOUT) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            return ""
    except socket.gaierror as error:
        return f"{host} is not a known host name ({error.strerror}); check the node's address in mcp.toml"
    except TimeoutError:
        return f"{address} does not answer; check that the node is up and its address in mcp.toml"
    except ConnectionRefusedError:
        return f"{address} refuses the connection; check that mcp-agent runs there (systemctl status mcp-agent)"
    except ssl.SSLCertVerificationError as error:
        return f"{address} shows a certificate that is not trusted: {error.verify_message}; check ca_cert in mcp.toml"
    except ssl.SSLError as error:
        if "WRONG_VERSION_NUMBER" in str(error) or "RECORD_LAYER" in str(error):
            return f"{address} does not speak TLS, so it is no mcp-agent; check the node's address in mcp.toml"
        return f"{address}: the TLS 1.3 handshake failed: {error.reason or error}"
    except (ConnectionResetError, BrokenPipeError):
        return f"{address} closed the connection during the TLS handshake; is it an mcp-agent?"
    except OSError as error:
        return f"{address}: {error.strerror or error}"
