"""The web studio: pages that are a pure client of the REST API, built from `web/` into `built/`."""
