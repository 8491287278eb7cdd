{{- define "tunesmith.rayPod" -}}
{{- $root := .root -}}
metadata:
  labels: {{- include "tunesmith.labels" . | nindent 4 }}
spec:
  serviceAccountName: {{ include "tunesmith.name" $root }}-ray
  automountServiceAccountToken: false
  enableServiceLinks: false
  # A training saves before its node goes.
  terminationGracePeriodSeconds: 60
  {{- include "tunesmith.pullSecrets" $root | nindent 2 }}
  securityContext: {{- include "tunesmith.podSecurity" $root | nindent 4 }}
  containers:
    - name: {{ .part }}
      image: {{ include "tunesmith.image" (dict "root" $root "name" .image) }}
      imagePullPolicy: {{ $root.Values.images.pullPolicy }}
      env:
        - {name: HOME, value: /tmp/home}
        - {name: RAY_TRAIN_V2_ENABLED, value: "1"}
        - {name: RAY_USAGE_STATS_ENABLED, value: "0"}
        - {name: RAY_DISABLE_IMPORT_WARNING, value: "1"}
        - {name: TOKENIZERS_PARALLELISM, value: "false"}
        {{- if not $root.Values.networkPolicy.jobsMayLeave }}
        - {name: HF_HUB_OFFLINE, value: "1"}
        {{- end }}
        {{- range $key, $value := $root.Values.ray.environment }}
        - {name: {{ $key }}, value: {{ $value | quote }}}
        {{- end }}
        {{- include "tunesmith.storageEnvironment" $root | nindent 8 }}
        {{- include "tunesmith.secretEnvironment" (dict "root" $root "settings" false) | nindent 8 }}
        {{- with include "tunesmith.fileEnvironment" (dict "root" $root "part" "jobs") }}{{ . | trim | nindent 8 }}{{ end }}
      {{- if eq .part "ray-head" }}
      ports:
        - {name: gcs-server, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        - {name: client, containerPort: 10001}
        - {name: serve, containerPort: 8000}
        - {name: metrics, containerPort: 8080}
      {{- end }}
      securityContext: {{- include "tunesmith.containerSecurity" $root | nindent 8 }}
      resources: {{- toYaml .given.resources | nindent 8 }}
      volumeMounts:
        - {name: state, mountPath: /var/lib/tunesmith}
        - {name: tmp, mountPath: /tmp}
        - {name: shared-memory, mountPath: /dev/shm}
        {{- with include "tunesmith.fileMount" (dict "root" $root "part" "jobs") }}{{ . | trim | nindent 8 }}{{ end }}
        {{- if $root.Values.caBundle }}
        - {name: ca, mountPath: /etc/tunesmith/ca, readOnly: true}
        {{- end }}
  volumes:
    {{- include "tunesmith.stateVolume" $root | nindent 4 }}
    - name: tmp
      emptyDir: {sizeLimit: {{ $root.Values.ray.scratch }}}
    - name: shared-memory
      emptyDir: {medium: Memory, sizeLimit: {{ $root.Values.ray.sharedMemory }}}
    {{- with include "tunesmith.fileVolume" (dict "root" $root "part" "jobs") }}{{ . | trim | nindent 4 }}{{ end }}
    {{- include "tunesmith.caVolume" $root | nindent 4 }}
    {{- if and (eq .part "ray-head") $root.Values.ray.autoscaler.enabled }}
    - name: kubernetes
      projected:
        sources:
          - serviceAccountToken: {path: token, expirationSeconds: 3607}
          - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
          - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
    {{- end }}
  {{- with .given.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .given.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
