{{- define "wisp.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* wisp for a release called wisp, RELEASE-wisp for others; 10 characters are left for what is put behind it. */}}
{{- define "wisp.fullname" -}}
{{- $name := include "wisp.name" . }}
{{- $whole := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $whole .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- /* webhook, unless the root context has another Component: set (omit . "Component") "Component" "gateway". */}}
{{- define "wisp.component" -}}
{{ default "webhook" .Component }}
{{- end }}

{{- /* The name of the component's own objects. */}}
{{- define "wisp.objectName" -}}
{{ include "wisp.fullname" . }}{{ if .Component }}-{{ .Component }}{{ end }}
{{- end }}

{{- /* The labels of the webhook are in the selector of a Deployment, which cannot be changed. */}}
{{- define "wisp.selectorLabels" -}}
app.kubernetes.io/name: {{ include "wisp.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ include "wisp.component" . }}
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
{{ include "wisp.objectName" . }}-tls
{{- end }}

{{- /* The host name by which pods reach the gateway. */}}
{{- define "wisp.gatewayHost" -}}
{{ include "wisp.fullname" . }}-gateway.{{ .Release.Namespace }}.svc
{{- end }}

{{- define "wisp.metricsPort" -}}
{{ regexReplaceAll "^.*:" (default ":9440" .Values.metricsAddr) "" }}
{{- end }}
