"""The edges: protocols of a few methods, and the real things behind them."""
