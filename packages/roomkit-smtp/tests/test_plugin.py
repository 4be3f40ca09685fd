"""The plugin as RoomKit sees it: components, doctor, imports."""

from __future__ import annotations

from roomkit_plugins.smtp import plugin
from roomkit_plugins.testing.contracts import VendorPluginContract


class TestSMTPPlugin(VendorPluginContract):
    plugin = plugin
    sdk = "aiosmtplib"
    key_variable = "SMTP_PASSWORD"
    construction = (
        "from roomkit_plugins.smtp import SMTPConfig, SMTPProvider\n"
        "SMTPProvider(SMTPConfig(host='mail.example', from_email='a@b.example'))"
    )
