"""Ready pieces that plugins build on: a channel over any provider, the base of a source, retries.

The contracts themselves are in `roomkit.abc`, which offers these names too.
"""
