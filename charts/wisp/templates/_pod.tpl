{{- /* What the Deployments of the webhook and the gateway have in common. */}}

{{- /* The gateway's own settings as JSON; an empty one is the webhook's. */}}
{{- define "wisp.own" -}}
{{- empty .Component | ternary dict (default dict .Values.gateway) | toJson }}
{{- end }}

{{- define "wisp.rollout" -}}
revisionHistoryLimit: {{ .Values.revisionHistoryLimit }}
strategy:
  type: RollingUpdate
  rollingUpdate:
    maxSurge: 1
    maxUnavailable: 0
selector:
  matchLabels:
    {{- include "wisp.selectorLabels" . | nindent 4 }}
{{- end }}

{{- define "wisp.podMetadata" -}}
{{- $own := include "wisp.own" . | fromJson -}}
labels:
  {{- include "wisp.labels" . | nindent 2 }}
  {{- with default .Values.podLabels $own.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $annotations := default .Values.podAnnotations $own.podAnnotations }}
{{- $clientCA := empty .Component | ternary .Values.clientCA "" }}
{{- if or $annotations .Values.authorityCA $clientCA }}
annotations:
  {{- with .Values.authorityCA }}
  checksum/authority: {{ sha256sum . }}
  {{- end }}
  {{- with $clientCA }}
  checksum/client-ca: {{ sha256sum . }}
  {{- end }}
  {{- with $annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* The part of a pod's spec before its containers. */}}
{{- define "wisp.pod" -}}
{{- $own := include "wisp.own" . | fromJson -}}
serviceAccountName: {{ include "wisp.objectName" . }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with default .Values.nodeSelector $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default .Values.tolerations $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default .Values.affinity $own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- $selector := dict "labelSelector" (dict "matchLabels" (include "wisp.selectorLabels" $ | fromYaml)) }}
  {{- range . }}
  {{- list (hasKey . "labelSelector" | ternary . (merge (deepCopy .) $selector)) | toYaml | nindent 2 }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 1501
  runAsGroup: 1501
  fsGroup: 1501
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "wisp.pullPolicy" -}}
{{ default "IfNotPresent" (.Values.image).pullPolicy }}
{{- end }}

{{- define "wisp.logLevel" -}}
{{- $own := include "wisp.own" . | fromJson }}
{{- $level := default .Values.logLevel $own.logLevel | default "" }}
{{- dig $level $level (dict "" "warning" "trace" "debug" "all" "debug") }}
{{- end }}

{{- /* The variables in extraEnv that the component reads: those of options have its prefix. The gateway's own variables are those of values, which an empty one must not replace. */}}
{{- define "wisp.extraEnv" -}}
{{- $other := empty .Component | ternary "WISP_TOKENS_" "WISP_ADMISSION_" }}
{{- $component := .Component }}
{{- range .Values.extraEnv }}
{{- if not (or (hasPrefix $other .name) (and $component (not (or .value .valueFrom)))) }}
{{ list . | toYaml }}
{{- end }}
{{- end }}
{{- end }}

{{- define "wisp.probes" -}}
startupProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: metrics
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}

{{- define "wisp.confinement" -}}
allowPrivilegeEscalation: false
capabilities:
  drop:
    - ALL
readOnlyRootFilesystem: true
{{- end }}
