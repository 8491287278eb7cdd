#!/usr/bin/env bash
# podman 4.3.1 with runc 1.1.5 (Debian bookworm), as root: `podman kube play` of a pod as Kubernetes would take it.
#
# A `Secret` of the same file, as a volume, reaches the container as it was written: its values stay in base64, which
# Kubernetes decodes. As a variable (`secretKeyRef`) the same secret is refused: "is not valid JSON". `fsGroup` gives nobody
# anything: an `emptyDir` at a folder that the image has belongs to whom that folder belongs, `/dev/shm` to root, so that a
# user without rights cannot write there, and Ray's raylet ends without a word. `subPath` of a ConfigMap's volume makes a folder of
# that name with the file inside.
#
# Seen: secret file: `cmFuZG9t` (not `random`); variable: "is not valid JSON"; /dev/shm: owner 0; subPath: a directory.
# What helps: folders of the machine (`hostPath`) that belong to the pod's user, in place of secrets, ConfigMaps and volumes
# that others write to, and variables with their values (tests/played_pods.py).
set -euo pipefail
command -v podman > /dev/null || { echo "podman is not here: nothing to see"; exit 0; }
image=$(podman images --format '{{.Repository}}:{{.Tag}}' | grep -v none | head -1 || true)
[ -n "$image" ] || { echo "there is no image here: nothing to see"; exit 0; }
folder=$(mktemp -d)
name=finding-$$
end() { podman pod rm -f -t 1 "$name" > /dev/null 2>&1 || true; podman secret rm "$name" > /dev/null 2>&1 || true; }
trap 'end; podman volume rm -f "$name" "$name-map" > /dev/null 2>&1 || true; rm -rf "$folder"' EXIT
printf '[containers]\ndefault_ulimits = ["nofile=1000:1000", "nproc=1000:1000"]\n' > "$folder/containers.conf"
export CONTAINERS_CONF=$folder/containers.conf
play() { # the container's variables
  cat > "$folder/pod.yaml" <<YAML
apiVersion: v1
kind: Secret
metadata: {name: $name}
data: {key: cmFuZG9t}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: $name-map}
data: {told.txt: told}
---
apiVersion: v1
kind: Pod
metadata: {name: $name}
spec:
  hostNetwork: true
  securityContext: {runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001}
  containers:
  - name: c
    image: $image
    imagePullPolicy: Never
    command: [/bin/sleep, "60"]
    env: $1
    volumeMounts:
    - {name: secrets, mountPath: /etc/secrets}
    - {name: shared, mountPath: /dev/shm}
    - {name: told, mountPath: /etc/told.txt, subPath: told.txt}
  volumes:
  - {name: secrets, secret: {secretName: $name, optional: false}}
  - {name: shared, emptyDir: {medium: Memory}}
  - {name: told, configMap: {name: $name-map}}
YAML
  podman kube play --network host "$folder/pod.yaml" 2>&1
}
expect() { # what it is, what was seen, what is found
  echo "$1: $3"
  [[ $3 == *"$2"* ]] || { echo "the behaviour has changed: \`$2\` was seen"; exit 1; }
}
said=$(play "[{name: KEY, valueFrom: {secretKeyRef: {name: $name, key: key}}}]" || true)
expect "a variable" "is not valid JSON" "${said##*Error: }"
end
play "[]" > /dev/null
inside() { podman exec "$name-c" /bin/sh -c "PATH=/bin:/usr/bin; $1"; }
expect "the secret's file" cmFuZG9t "$(inside 'cat /etc/secrets/key')"
expect "who owns /dev/shm" 0 "$(inside 'stat -c %u /dev/shm')"
expect "the file of the ConfigMap" directory "$(inside 'stat -c %F /etc/told.txt')"
