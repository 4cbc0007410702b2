{{- /* How the webhook and the gateway have their certificates. */}}

{{- /* The right to fill the component's Secret, which is not needed with cert-manager. */}}
{{- define "wisp.secretAccess" -}}
{{- if not (.Values.certManager).enabled }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ include "wisp.objectName" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "wisp.labels" . | nindent 4 }}
rules:
  # No create: nobody can be given the right to make one Secret by name. The chart makes it, empty.
  - apiGroups: [""]
    resources: [secrets]
    resourceNames: [{{ include "wisp.certificateSecret" . }}]
    verbs: [get, list, watch, update]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ include "wisp.objectName" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "wisp.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ include "wisp.objectName" . }}
subjects:
  - kind: ServiceAccount
    name: {{ include "wisp.objectName" . }}
    namespace: {{ .Release.Namespace }}
{{- end }}
{{- end }}

{{- /* The component's Secret, which its process fills. */}}
{{- define "wisp.secret" -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ include "wisp.certificateSecret" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "wisp.labels" . | nindent 4 }}
type: Opaque
{{- end }}

{{- /* A certificate for the component's Service, by cert-manager. */}}
{{- define "wisp.certificate" -}}
{{- $issuer := dict "kind" "Issuer" "name" (include "wisp.objectName" .) -}}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: {{ include "wisp.objectName" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "wisp.labels" . | nindent 4 }}
spec:
  secretName: {{ include "wisp.certificateSecret" . }}
  dnsNames:
    - {{ include "wisp.objectName" . }}.{{ .Release.Namespace }}.svc
  privateKey:
    algorithm: ECDSA
    rotationPolicy: Always
  issuerRef:
    {{- default $issuer .Values.certManager.issuerRef | toYaml | nindent 4 }}
{{- end }}
