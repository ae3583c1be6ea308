"""What the Cache Report node says and draws. Knows nothing of the host."""
