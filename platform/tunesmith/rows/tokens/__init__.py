"""From texts to token ids and labels."""
