#!/bin/sh
# data postgres | s3 | redis: start one, with its data in /data. data healthy [PART]: whether it does its work.
set -eu
part=${1:-}
# Each key is a variable's, or lies in the file that NAME_FILE names: then no process's environment holds it.
for name in POSTGRES_PASSWORD AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY REDIS_PASSWORD; do
  eval "file=\${${name}_FILE:-}"
  if [ -n "$file" ]; then eval "$name=\$(cat \"\$file\")"; fi
done
case "$part" in
postgres)
  if [ ! -s /data/pg/PG_VERSION ]; then
    rm -rf /data/pg.part
    printf %s "$POSTGRES_PASSWORD" > /tmp/password
    initdb -D /data/pg.part -U tunesmith --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256 \
      --encoding=UTF8 --locale=C.UTF-8 > /dev/null
    rm /tmp/password
    printf 'host all all all scram-sha-256\n' >> /data/pg.part/pg_hba.conf
    # Both databases before anybody can come in by the network.
    pg_ctl -D /data/pg.part -w -o "-k /tmp -c listen_addresses=''" start > /dev/null
    for database in tunesmith mlflow; do createdb -h /tmp -U tunesmith "$database"; done
    pg_ctl -D /data/pg.part -w -m fast stop > /dev/null
    mv /data/pg.part /data/pg
  fi
  exec postgres -D /data/pg -k /tmp -c listen_addresses='*' -c max_connections=200
  ;;
s3)
  mkdir -p /data/s3
  umask 077
  printf '{"identities":[{"name":"tunesmith","credentials":[{"accessKey":"%s","secretKey":"%s"}],"actions":["Admin","Read","Write","List","Tagging"]}]}' \
    "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" > /tmp/s3.json
  # The bucket, as soon as the filer answers; again: it is there.
  (until echo "s3.bucket.create -name ${BUCKET:-tunesmith}" | weed shell -master=127.0.0.1:9333 > /dev/null 2>&1; do sleep 1; done) &
  exec env GOMEMLIMIT=1500MiB weed -logtostderr=true server -dir=/data/s3 -ip=127.0.0.1 -ip.bind=0.0.0.0 -filer -s3 -s3.port=8333 \
    -s3.config=/tmp/s3.json -s3.port.iceberg=0 -s3.port.lance=0 -volume.max=0 -master.volumeSizeLimitMB=1024 \
    -master.volumePreallocate=false -master.telemetry=false -volume.preStopSeconds=1
  ;;
redis)
  mkdir -p /data/redis
  umask 077
  printf 'requirepass %s\ndir /data/redis\nappendonly yes\nbind * -::*\nprotected-mode no\n' "$REDIS_PASSWORD" > /tmp/redis.conf
  exec redis-server /tmp/redis.conf
  ;;
healthy)
  which=${2:-}
  [ -n "$which" ] || which=$(if [ -e /data/pg ]; then echo postgres; elif [ -e /data/redis ]; then echo redis; else echo s3; fi)
  case "$which" in
  postgres) exec psql -h /tmp -U tunesmith -d mlflow -tAc 'SELECT 1' ;;
  redis) REDISCLI_AUTH=$REDIS_PASSWORD exec redis-cli ping ;;
  # A read, and not only an answer: its parts find each other some seconds later.
  s3) exec curl -sf --max-time 5 --aws-sigv4 "aws:amz:us-east-1:s3" --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \
    -o /dev/null "http://127.0.0.1:8333/${BUCKET:-tunesmith}?list-type=2&max-keys=1" ;;
  esac
  ;;
*)
  echo "usage: data postgres | s3 | redis | healthy [PART]" >&2
  exit 2
  ;;
esac
