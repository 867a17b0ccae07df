{{- define "kinesis-proxy.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods of the service. */}}
{{- define "kinesis-proxy.selector" -}}
app.kubernetes.io/name: kinesis-proxy
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: proxy
{{- end -}}

{{/* What every object bears besides. */}}
{{- define "kinesis-proxy.chartLabels" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "kinesis-proxy.labels" -}}
{{ include "kinesis-proxy.selector" . }}
{{ include "kinesis-proxy.chartLabels" . }}
{{- end -}}

{{- define "kinesis-proxy.serviceAccountName" -}}
{{- if .Values.serviceAccount.name -}}
{{- .Values.serviceAccount.name -}}
{{- else if not .Values.serviceAccount.create -}}
default
{{- else if eq .Values.mode "sidecar" -}}
{{- .Values.sidecar.producer.name -}}
{{- else -}}
{{- include "kinesis-proxy.name" . -}}
{{- end -}}
{{- end -}}

{{- define "kinesis-proxy.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Not empty where the objects of the Prometheus Operator are wanted. */}}
{{- define "kinesis-proxy.monitored" -}}
{{- $enabled := toString .Values.monitoring.enabled -}}
{{- if eq $enabled "auto" -}}
{{- if .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" -}}yes{{- end -}}
{{- else if eq $enabled "true" -}}yes{{- end -}}
{{- end -}}
