"""Base models: which are here, what their files say, which tasks start from them."""
