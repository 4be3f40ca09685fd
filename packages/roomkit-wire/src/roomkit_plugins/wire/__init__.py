"""What vendors' plugins share: pieces of wire formats, and the handling of a vendor's client.

Nothing here knows a vendor. Import the module you need; nothing is imported until then.
"""
