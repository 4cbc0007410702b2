{{- define "wisp.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* wisp for a release called wisp, RELEASE-wisp for others; 10 characters are left for what is put behind it. */}}
{{- define "wisp.fullname" -}}
{{- $name := include "wisp.name" . }}
{{- $whole := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $whole .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "wisp.selectorLabels" -}}
app.kubernetes.io/name: {{ include "wisp.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: webhook
{{- end }}

{{- define "wisp.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: wisp
{{ include "wisp.selectorLabels" . }}
{{- end }}

{{- define "wisp.image" -}}
{{- $image := include "wisp.isOtherImage" . | eq "true" | ternary dict (default dict .Values.image) }}
{{- default "wisp" $image.repository }}:{{ default .Chart.AppVersion $image.release }}
{{- end }}

{{- define "wisp.certificateSecret" -}}
{{ include "wisp.fullname" . }}-tls
{{- end }}

{{- define "wisp.metricsPort" -}}
{{ regexReplaceAll "^.*:" (default ":9440" .Values.metricsAddr) "" }}
{{- end }}
