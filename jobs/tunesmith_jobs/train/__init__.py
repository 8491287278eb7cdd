"""Fine-tuning: a core that is a plain function of (spec, data, outlet), and the thin wrapper that Ray runs."""
