# Other names for nox sessions; noxfile.py says what they do.
.PHONY: all lint types tests newest plugin demo
all: lint types tests newest plugin
lint types tests newest plugin:
	uv run nox -s $@
demo:
	uv run roomkit demo
