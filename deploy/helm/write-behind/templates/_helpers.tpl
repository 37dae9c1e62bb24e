{{/* The name of everything: the release's, with the chart's if it does not say it already. */}}
{{- define "write-behind.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "write-behind.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "write-behind.labels" -}}
{{ include "write-behind.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{/* The Secret whose keys are variables, if there is one. */}}
{{- define "write-behind.secret" -}}
{{- if .Values.existingSecret -}}
{{- .Values.existingSecret -}}
{{- else if .Values.secretEnv -}}
{{- include "write-behind.name" . -}}
{{- end -}}
{{- end -}}

{{/* MiB that the container may take. */}}
{{- define "write-behind.memory" -}}
{{- printf "%dMi" (add (div (mul 3 (int .Values.buffersMiB)) 2) 128) -}}
{{- end -}}
