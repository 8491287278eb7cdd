"""What one key takes of several servers: each says what it lets run, and counts what the others say."""
