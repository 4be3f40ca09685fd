"""The contracts of voice, between the engine of a call and the parts that plug into it.

One module a subject. Everything is imported from `roomkit` or `roomkit.abc`. Nothing here runs: these are
types, abstract classes and their documented defaults. The rules that hold for all of them:

- **Units.** Times are milliseconds as `float`, in names that end in `_ms`. Positions in audio are counted in
  samples, as `int`. Audio is signed 16-bit little-endian mono PCM unless a format says otherwise.
- **Timeline.** A session has one: 0 is when media can flow both ways, and then the clock of the home loop.
  Frames of both directions, speech events, transcripts, recordings and reports use it.
- **Home loop.** The event loop on which `start` ran, else the first on which a method was called. All methods
  are called there, one at a time, except: `emit("audio", ...)` (any thread), the streams of stages that run
  on a WORKER (one thread at a time), and judges without state (any thread).
- **State.** A provider serves all sessions at once and holds settings, models and pools. The state of one
  session is in the stream that `open` returns for it.
- **Blocking.** A synchronous method called on the home loop takes at most 0.3 ms and does no I/O; a stage
  that needs longer says WORKER. `open` of a stage, of STT and of TTS is synchronous: connections are made in
  the background.
- **Bounds.** Inbound audio 100 frames and unsent audio for STT 10 s: the oldest is dropped. Results of a
  stream 1,000: the producer waits. An utterance 60 s, of a speech-to-speech model 300 s: `CapacityError`.
  Messages to a client 2 s. All drops are counted.
- **Honesty.** A claimed capability is tested; a method without one raises `VoiceUnsupportedError`.
- **Privacy.** Transcripts and spoken text are in logs at level DEBUG only, and never in errors, spans or
  URLs.
"""
