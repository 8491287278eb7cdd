"""The whole platform on one machine: Ray, MLflow and the API, started, watched and ended as one."""
