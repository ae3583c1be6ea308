"""The real ComfyUI for demo, tests and benchmarks: fetch, launch, serve, talk to it."""
