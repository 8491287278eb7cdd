"""The command line. Its flags derive from the specs; whatever it shows comes through `tunesmith.client`."""
