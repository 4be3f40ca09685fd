# Other names for nox sessions; noxfile.py says what they do.
.PHONY: all lint types tests plugin demo
all: lint types tests plugin
lint types tests plugin:
	uv run nox -s $@
demo:
	uv run roomkit demo
