"""The platform itself: health, limits, schema, hardware."""
