"""Everything that touches the host: wrappers, sampler traits, keys, memory, progress, files."""
