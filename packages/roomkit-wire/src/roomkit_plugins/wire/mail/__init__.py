"""Internet mail, for every mail provider: messages of a room as MIME and back, without any vendor.

`outbound` writes a message, `inbound` reads one, `reports` what mail servers say of one.
"""
