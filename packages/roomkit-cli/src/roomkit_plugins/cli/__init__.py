"""The `roomkit` command: demo, chat, plugins."""
