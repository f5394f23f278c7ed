"""Mail from example.com gets the signature of its domain; all mail gets one of ours."""

from kumotwist import kumo

HEADERS = ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"]


@kumo.on("smtp_server_message_received")
def received(msg: kumo.Message) -> None:
    author = msg.from_header()
    if author is None:
        kumo.reject(552, "5.6.0 DKIM signing requires a From header, but it is missing from this message")
    if author.domain.lower() == "example.com":
        msg.dkim_sign(
            kumo.dkim.rsa_sha256_signer(
                domain="example.com", selector="s1", headers=HEADERS, over_sign=True, key="dkim-example.com.key"
            )
        )
    msg.dkim_sign(
        kumo.dkim.ed25519_signer(domain="esp.example", selector="s1", headers=HEADERS, over_sign=True, key="dkim-esp.example.key")
    )
