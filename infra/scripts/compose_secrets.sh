#!/bin/sh
# Make the secrets that infra/compose.yaml reads, in infra/secrets; those that are there stay.
set -eu
cd "$(dirname "$0")/.."
umask 077
mkdir -p secrets
random() { python3 -c 'import secrets; print(secrets.token_urlsafe(32), end="")'; }
# Read by the containers' user, which is not the one that makes them; the folder keeps others out.
for name in auth_token report-secret mlflow-token; do [ -s secrets/$name ] || random > secrets/$name; done
[ -s secrets/api-key ] || { printf ts-; random; } > secrets/api-key
if [ ! -s secrets/postgres.env ]; then
  password=$(random) key=$(random) secret=$(random)
  echo "POSTGRES_PASSWORD=$password" > secrets/postgres.env
  printf 'AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n' "$key" "$secret" > secrets/s3.env
  cp secrets/s3.env secrets/ray.env
  { cat secrets/s3.env; echo "PGPASSWORD=$password"; } > secrets/platform.env
fi
chmod 644 secrets/auth_token secrets/report-secret secrets/mlflow-token secrets/api-key
