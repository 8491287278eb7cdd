{{- define "tunesmith.name" -}}
{{- if contains "tunesmith" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-tunesmith" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* No `app.kubernetes.io/name`: on Ray's pods that one is KubeRay's, whose services select by it. */}}
{{- define "tunesmith.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "tunesmith.labels" -}}
{{ include "tunesmith.selector" . }}
{{- if not (hasPrefix "ray-" .part) }}
app.kubernetes.io/name: tunesmith
{{- end }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* One image of ours: the digest where one is known, else the tag. */}}
{{- define "tunesmith.image" -}}
{{- $registry := required "images.registry is required: the prefix of your registry, to which the images were pushed (infra/scripts/images.py)." .root.Values.images.registry -}}
{{- $digest := index .root.Values.images.digests .name -}}
{{- $registry | trimSuffix "/" }}/{{ .name }}{{ if $digest }}@{{ $digest }}{{ else }}:{{ .root.Values.images.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* What PodSecurity `restricted` asks of a pod, and more: a root file system that nobody writes. */}}
{{- define "tunesmith.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "tunesmith.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "tunesmith.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "tunesmith.secret" -}}
{{ .Values.existingSecret | default (printf "%s-secrets" (include "tunesmith.name" .)) }}
{{- end }}

{{- define "tunesmith.apiUrl" -}}
{{ .Values.platform.apiUrl | default (printf "http://%s.%s.svc:8080" (include "tunesmith.name" .) .Release.Namespace) }}
{{- end }}

{{- define "tunesmith.publicUrl" -}}
{{- if .Values.platform.publicUrl }}{{ .Values.platform.publicUrl }}
{{- else if .Values.ingress.enabled }}{{ printf "http%s://%s" (ternary "s" "" (ne .Values.ingress.tlsSecret "")) .Values.ingress.host }}
{{- end }}
{{- end }}

{{- define "tunesmith.mlflowPublicUrl" -}}
{{- if .Values.mlflow.publicUrl }}{{ .Values.mlflow.publicUrl }}
{{- else if and .Values.ingress.enabled .Values.ingress.mlflowHost }}{{ printf "http%s://%s" (ternary "s" "" (ne .Values.ingress.mlflowTlsSecret "")) .Values.ingress.mlflowHost }}
{{- end }}
{{- end }}

{{- define "tunesmith.storageUri" -}}
{{- if eq .Values.storage.kind "volume" }}/var/lib/tunesmith/files
{{- else }}s3://{{ .Values.storage.bucket }}{{ with .Values.storage.prefix }}/{{ . | trimAll "/" }}{{ end }}
{{- end }}
{{- end }}

{{- define "tunesmith.databaseUrl" -}}
{{- $outside := .root.Values.postgresql.external -}}
{{- if .root.Values.postgresql.bundled -}}
postgresql+psycopg://tunesmith@{{ include "tunesmith.name" .root }}-postgres:5432/{{ .database }}
{{- else -}}
postgresql+psycopg://{{ $outside.user }}@{{ $outside.host }}:{{ $outside.port }}/{{ ternary $outside.database $outside.mlflowDatabase (eq .database "tunesmith") }}
{{- end }}
{{- end }}

{{/* Whether a pod gets a file of `secretFiles`: jobs run their users' code, and get what is theirs. */}}
{{- define "tunesmith.isGiven" -}}
{{- $settings := hasPrefix "TUNESMITH_" .name -}}
{{- $mlflow := hasPrefix "MLFLOW_" .name -}}
{{- if eq .part "mlflow" }}{{ if or $mlflow (hasPrefix "AWS_" .name) }}true{{ end }}
{{- else if eq .part "migrate" }}{{ if eq .name "TUNESMITH_DATABASE_URL" }}true{{ end }}
{{- else if eq .part "jobs" }}{{ if not (or $settings $mlflow) }}true{{ end }}
{{- else if not $mlflow }}true{{ end }}
{{- end }}

{{/* Whether a name is among `secretFiles`. */}}
{{- define "tunesmith.hasFile" -}}
{{- $name := .name -}}
{{- range .root.Values.secretFiles }}{{ if eq .name $name }}true{{ end }}{{ end }}
{{- end }}

{{- define "tunesmith.fileEnvironment" -}}
{{- $part := .part -}}
{{- range .root.Values.secretFiles }}
{{- if include "tunesmith.isGiven" (dict "name" .name "part" $part) }}
- {name: {{ .name }}_FILE, value: /etc/tunesmith/given/{{ .name }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "tunesmith.fileMount" -}}
{{- if include "tunesmith.fileEnvironment" . }}
- {name: given, mountPath: /etc/tunesmith/given, readOnly: true}
{{- end }}
{{- end }}

{{- define "tunesmith.fileVolume" -}}
{{- $part := .part -}}
{{- if include "tunesmith.fileEnvironment" . }}
- name: given
  projected:
    defaultMode: 0440
    sources:
      {{- range .root.Values.secretFiles }}
      {{- if include "tunesmith.isGiven" (dict "name" .name "part" $part) }}
      - secret: {name: {{ .secret }}, items: [{key: {{ .key }}, path: {{ .name }}}]}
      {{- end }}
      {{- end }}
{{- end }}
{{- end }}

{{/* How a database is reached: by what a file says, or by an address in which no password stands. */}}
{{- define "tunesmith.databaseSettings" -}}
{{- if not (include "tunesmith.hasFile" (dict "root" . "name" "TUNESMITH_DATABASE_URL")) }}
- {name: TUNESMITH_DATABASE_URL, value: {{ include "tunesmith.databaseUrl" (dict "root" . "database" "tunesmith") | quote }}}
{{- include "tunesmith.databaseEnvironment" . }}
{{- end }}
{{- end }}

{{/* The password is the library's own variable, and stands in no address. */}}
{{- define "tunesmith.databaseEnvironment" }}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef:
      {{- if .Values.postgresql.bundled }}
      name: {{ include "tunesmith.secret" . }}
      key: postgres-password
      {{- else }}
      name: {{ .Values.postgresql.external.secret }}
      key: password
      {{- end }}
{{- if not .Values.postgresql.bundled }}
- {name: PGSSLMODE, value: {{ .Values.postgresql.external.sslMode | quote }}}
{{- end }}
{{- end }}

{{- define "tunesmith.storageEnvironment" -}}
{{- if ne .Values.storage.kind "volume" }}
{{- $secret := ternary (include "tunesmith.secret" .) .Values.storage.external.secret (eq .Values.storage.kind "bundled") }}
{{- $s3 := ternary "s3-" "" (eq .Values.storage.kind "bundled") }}
{{- if not (include "tunesmith.hasFile" (dict "root" . "name" "AWS_SHARED_CREDENTIALS")) }}
- name: AWS_ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ $s3 }}access-key}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ $s3 }}secret-key}}
{{- end }}
{{- if eq .Values.storage.kind "bundled" }}
- {name: AWS_ENDPOINT_URL, value: "http://{{ include "tunesmith.name" . }}-s3.{{ .Release.Namespace }}.svc:8333"}
- {name: AWS_REGION, value: us-east-1}
{{- else }}
{{- with .Values.storage.external.endpoint }}
- {name: AWS_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
- {name: AWS_REGION, value: {{ .Values.storage.external.region | quote }}}
{{- end }}
- {name: AWS_EC2_METADATA_DISABLED, value: "true"}
{{- end }}
{{- end }}

{{/* Of `secretEnvironment`; jobs run their users' code, and get none of the platform's own settings. */}}
{{- define "tunesmith.secretEnvironment" -}}
{{- $root := .root -}}
{{- range $root.Values.secretEnvironment }}
{{- if or $.settings (not (hasPrefix "TUNESMITH_" .name)) }}
- name: {{ .name }}
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}}
{{- end }}
{{- end }}
{{- if $root.Values.caBundle }}
- {name: SSL_CERT_FILE, value: /etc/tunesmith/ca/ca.crt}
{{- end }}
{{- end }}

{{/* Every setting of the platform's that the chart chooses, then those of `settings`. */}}
{{- define "tunesmith.platformEnvironment" -}}
{{- $name := include "tunesmith.name" . -}}
- {name: TUNESMITH_HOME, value: /var/lib/tunesmith}
- {name: TUNESMITH_HOST, value: "0.0.0.0"}
- {name: TUNESMITH_PORT, value: "8080"}
- {name: TUNESMITH_RUN_LOOPS, value: "false"}
- {name: TUNESMITH_CONTROLLER_PORT, value: "8081"}
- {name: TUNESMITH_API_URL, value: {{ include "tunesmith.apiUrl" . | quote }}}
{{- with include "tunesmith.publicUrl" . }}
- {name: TUNESMITH_PUBLIC_URL, value: {{ . | quote }}}
{{- end }}
- {name: TUNESMITH_MIGRATE_AT_START, value: {{ .Values.postgresql.bundled | quote }}}
- {name: TUNESMITH_STORAGE_URI, value: {{ include "tunesmith.storageUri" . | quote }}}
- {name: TUNESMITH_API_KEY_FILE, value: /etc/tunesmith/secrets/api-key}
- {name: TUNESMITH_RAY_TOKEN_FILE, value: /etc/tunesmith/secrets/auth_token}
- {name: TUNESMITH_REPORT_SECRET_FILE, value: /etc/tunesmith/secrets/report-secret}
# Jobs write below the state folder: what they may read is listed where they cannot.
- {name: TUNESMITH_ALLOWED_ROOTS_FILE, value: /etc/tunesmith/allowed-roots.json}
{{- if .Values.ray.create }}
- {name: TUNESMITH_RAY_URL, value: "http://{{ $name }}-ray-head-svc.{{ .Release.Namespace }}.svc:8265"}
- {name: TUNESMITH_SERVE_HOST, value: "{{ $name }}-ray-head-svc.{{ .Release.Namespace }}.svc"}
{{- else }}
- {name: TUNESMITH_RAY_URL, value: {{ .Values.ray.external.dashboardUrl | quote }}}
- {name: TUNESMITH_SERVE_HOST, value: {{ .Values.ray.external.serveHost | quote }}}
{{- end }}
- {name: TUNESMITH_SERVE_BIND, value: "0.0.0.0"}
{{- if .Values.mlflow.enabled }}
- {name: TUNESMITH_MLFLOW_URL, value: "http://{{ $name }}-mlflow.{{ .Release.Namespace }}.svc:5000"}
- {name: TUNESMITH_MLFLOW_TOKEN_FILE, value: /etc/tunesmith/secrets/mlflow-token}
{{- with include "tunesmith.mlflowPublicUrl" . }}
- {name: TUNESMITH_MLFLOW_PUBLIC_URL, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- range $key, $value := .Values.settings }}
- {name: TUNESMITH_{{ $key | upper }}, value: {{ ternary $value (toJson $value) (kindIs "string" $value) | quote }}}
{{- end }}
{{- include "tunesmith.databaseSettings" . }}
{{- include "tunesmith.storageEnvironment" . }}
{{- include "tunesmith.secretEnvironment" (dict "root" . "settings" true) }}
{{- include "tunesmith.fileEnvironment" (dict "root" . "part" "platform") }}
- {name: HOME, value: /tmp}
{{- end }}

{{/* Where the state, the secrets and a certificate are seen. */}}
{{- define "tunesmith.platformMounts" -}}
- {name: state, mountPath: /var/lib/tunesmith}
- {name: secrets, mountPath: /etc/tunesmith/secrets, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- include "tunesmith.fileMount" (dict "root" . "part" "platform") }}
{{- if .Values.caBundle }}
- {name: ca, mountPath: /etc/tunesmith/ca, readOnly: true}
{{- end }}
{{- end }}

{{- define "tunesmith.stateVolume" -}}
- name: state
  persistentVolumeClaim:
    claimName: {{ .Values.state.existingClaim | default (printf "%s-state" (include "tunesmith.name" .)) }}
{{- end }}

{{- define "tunesmith.caVolume" -}}
{{- with .Values.caBundle }}
- name: ca
  configMap: {name: {{ . }}}
{{- end }}
{{- end }}

{{- define "tunesmith.platformVolumes" -}}
{{ include "tunesmith.stateVolume" . }}
- name: secrets
  secret:
    secretName: {{ include "tunesmith.secret" . }}
    defaultMode: 0440
    items:
      - {key: api-key, path: api-key}
      - {key: auth_token, path: auth_token}
      - {key: report-secret, path: report-secret}
      - {key: mlflow-token, path: mlflow-token}
- name: tmp
  emptyDir: {sizeLimit: 2Gi}
{{- include "tunesmith.fileVolume" (dict "root" . "part" "platform") }}
{{- include "tunesmith.caVolume" . }}
{{- end }}

{{- define "tunesmith.from" -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/instance: {{ .root.Release.Name }}
    matchExpressions:
      - {key: app.kubernetes.io/component, operator: In, values: {{ toJson .parts }}}
{{- end }}
{{- define "tunesmith.namespace" -}}
- namespaceSelector:
    matchLabels: {kubernetes.io/metadata.name: {{ . }}}
{{- end }}
