# What runs on Ray: head, workers, drivers, and the replicas that answer chats, which Ray places on any node.
# ACCELERATOR says which torch: cpu (from PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL) or cuda (the registry's own).
ARG BASE=debian:bookworm-slim
FROM ${BASE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv python3-pip ca-certificates
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_CERT
ARG ACCELERATOR=cpu
COPY constraints.txt requirements-jobs.txt /build/
RUN python3 -m venv --without-pip /opt/tunesmith \
 && if [ "$ACCELERATOR" = cpu ]; then echo "torch==$(sed -n 's/^torch==//p' /build/constraints.txt)+cpu"; else echo bitsandbytes; fi \
      > /build/accelerator.txt \
 && python3 -m pip --python /opt/tunesmith/bin/python install --no-cache-dir --no-compile \
      -c /build/constraints.txt -r /build/requirements-jobs.txt -r /build/accelerator.txt \
 && find /opt/tunesmith -depth \( -name tests -o -name test -o -name include \) -type d \
      \( -path '*/pyarrow/*' -o -path '*/numpy/*' -o -path '*/torch/*' \) -exec rm -rf {} +

FROM build AS code
COPY *.whl /build/
RUN python3 -m pip --python /opt/tunesmith/bin/python install --no-cache-dir --no-compile --no-deps --no-index \
      --target /code /build/*.whl

FROM ${BASE}
# KubeRay's probes ask by wget, and it starts Ray by bash.
RUN apt-get update && apt-get install -y --no-install-recommends python3 ca-certificates wget procps \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /usr/share/doc /usr/share/man /usr/share/locale \
 && groupadd -g 10001 tunesmith && useradd -u 10001 -g 10001 -M -d /tmp/home -s /bin/bash tunesmith \
 && mkdir -p /var/lib/tunesmith && chown 10001:10001 /var/lib/tunesmith
COPY --from=build /opt/tunesmith /opt/tunesmith
COPY sbom.py /usr/local/bin/sbom
COPY --from=code /code /opt/tunesmith/lib/python3.11/site-packages
RUN cp /opt/tunesmith/lib/python3.11/site-packages/bin/tunesmith /opt/tunesmith/bin/ \
 && /opt/tunesmith/bin/python /usr/local/bin/sbom tunesmith-jobs > /opt/tunesmith/sbom.json
ENV PATH=/opt/tunesmith/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp/home \
    RAY_TRAIN_V2_ENABLED=1 RAY_USAGE_STATS_ENABLED=0 RAY_DISABLE_IMPORT_WARNING=1 TOKENIZERS_PARALLELISM=false
USER 10001:10001
VOLUME /var/lib/tunesmith
EXPOSE 6379 8265 8000 10001
HEALTHCHECK --interval=15s --timeout=10s --start-period=90s \
  CMD ["ray", "health-check"]
CMD ["ray", "start", "--head", "--block", "--dashboard-host=0.0.0.0", "--disable-usage-stats"]
