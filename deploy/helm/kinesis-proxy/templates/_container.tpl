{{/* A setting's value as the environment writes it: a list with commas, a whole number without an exponent. */}}
{{- define "kinesis-proxy.settingText" -}}
{{- if kindIs "slice" . -}}
{{- join "," . -}}
{{- else if and (kindIs "float64" .) (eq . (floor .)) -}}
{{- printf "%.0f" . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* The environment: what the mode needs, then .Values.settings, then .Values.env. */}}
{{- define "kinesis-proxy.env" -}}
{{- $settings := dict "connection_age_max_ms" 0 -}}
{{- if eq .Values.mode "deployment" -}}
{{- $settings = dict "connection_age_max_ms" 120000 -}}
{{- end -}}
{{/* Not merge, to which 0 and false are no values. */}}
{{- range $name, $value := .Values.settings -}}
{{- $_ := set $settings $name $value -}}
{{- end -}}
{{- $_ := set $settings "admin_listen" "0.0.0.0:9464" -}}
{{- $anonymous := false -}}
{{- if eq .Values.mode "deployment" -}}
{{- $_ := set $settings "listen" "0.0.0.0:4567" -}}
{{- if eq .Values.auth.mode "sigv4" -}}
{{- $_ := set $settings "inbound_auth" "sigv4" -}}
{{- $_ := set $settings "inbound_keys_file" "/etc/kinesis-proxy/keys" -}}
{{- else if not .Values.tls.clientCa -}}
{{- $anonymous = true -}}
{{- end -}}
{{- end -}}
{{- if .Values.tls.enabled -}}
{{- $_ := set $settings "tls_certificate_file" "/etc/kinesis-proxy/tls/tls.crt" -}}
{{- $_ := set $settings "tls_key_file" "/etc/kinesis-proxy/tls/tls.key" -}}
{{- if .Values.tls.clientCa -}}
{{- $_ := set $settings "tls_client_ca_file" "/etc/kinesis-proxy/tls/ca.crt" -}}
{{- end -}}
{{- end -}}
{{- if eq (toString (get $settings "upstream")) "embedded" -}}
{{- $anonymous = true -}}
{{- end -}}
{{- if $anonymous -}}
{{- $_ := set $settings "allow_anonymous" true -}}
{{- end -}}
{{- range $name, $value := $settings }}
- name: KINESIS_PROXY_{{ upper $name }}
  value: {{ include "kinesis-proxy.settingText" $value | quote }}
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What is the same in both modes. */}}
{{- define "kinesis-proxy.container" -}}
name: kinesis-proxy
image: {{ include "kinesis-proxy.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  {{- include "kinesis-proxy.env" . | trim | nindent 2 }}
startupProbe:
  httpGet:
    path: /readyz
    port: admin
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /livez
    port: admin
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
securityContext:
  allowPrivilegeEscalation: false
  capabilities:
    drop:
      - ALL
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{/*
The proxy as a native sidecar: an item for a pod's initContainers. A chart that depends on this one, with mode library,
includes it with the subchart as its context:

  initContainers:
    {{- include "kinesis-proxy.sidecar" (index .Subcharts "kinesis-proxy") | nindent 8 }}
*/}}
{{- define "kinesis-proxy.sidecar" -}}
- {{ include "kinesis-proxy.container" . | nindent 2 | trim }}
  restartPolicy: Always
  ports:
    - name: admin
      containerPort: 9464
  resources:
    {{- toYaml .Values.sidecar.resources | nindent 4 }}
  {{- if .Values.tls.enabled }}
  volumeMounts:
    - name: kinesis-proxy-tls
      mountPath: /etc/kinesis-proxy/tls
      readOnly: true
  {{- end }}
{{- end -}}

{{/* The volumes that the sidecar mounts: items for the pod's volumes; none without tls. */}}
{{- define "kinesis-proxy.sidecarVolumes" -}}
{{- if .Values.tls.enabled -}}
- name: kinesis-proxy-tls
  secret:
    secretName: {{ .Values.tls.secretName }}
    defaultMode: 0444
{{- end -}}
{{- end -}}

{{/* Refuses what would cut a drain short, or let nobody in. */}}
{{- define "kinesis-proxy.checked" -}}
{{- $drain := 5000 -}}
{{- if hasKey .Values.settings "drain_timeout_ms" -}}
{{- $drain = int .Values.settings.drain_timeout_ms -}}
{{- end -}}
{{- $needed := addf (divf $drain 1000) 1 -}}
{{- $grace := int .Values.sidecar.producer.terminationGracePeriodSeconds -}}
{{- if eq .Values.mode "deployment" -}}
{{- $needed = addf $needed (int .Values.deployment.preStopSeconds) -}}
{{- $grace = int .Values.deployment.terminationGracePeriodSeconds -}}
{{- end -}}
{{- if le (float64 $grace) $needed -}}
{{- fail (printf "terminationGracePeriodSeconds (%d) must be more than preStop, drain_timeout_ms and 1 s for the last answers together (%v s)" $grace $needed) -}}
{{- end -}}
{{- if and .Values.tls.clientCa (not .Values.tls.enabled) -}}
{{- fail "tls.clientCa is of no use without tls.enabled" -}}
{{- end -}}
{{- end -}}
