{{- /* What the chart of azure-workload-identity has otherwise: settings as variables, other names, another image. */}}

{{- /* The names of the variables in extraEnv that have a value, as JSON: {"names": [...]}. A variable goes before the value of the same meaning. */}}
{{- define "wisp.variables" -}}
{{- $names := list }}
{{- range .Values.extraEnv }}
{{- if or .value .valueFrom }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}
{{- dict "names" $names | toJson }}
{{- end }}

{{- /* The custom token endpoint as JSON: the gateway, or customTokenEndpoint with each setting by either of its two names; one that extraEnv has is empty here. */}}
{{- define "wisp.endpoint" -}}
{{- $gateway := default dict .Values.gateway }}
{{- if $gateway.enabled }}
{{- dict
      "annotationSuffix" (default "identity-binding" $gateway.annotationSuffix)
      "audience" (default "api://AKSIdentityBinding" $gateway.audience)
      "url" (printf "https://%s" (include "wisp.gatewayHost" .))
      "caFile" "/gateway-ca/ca.crt" | toJson }}
{{- else }}
{{- $variables := (include "wisp.variables" . | fromJson).names }}
{{- $given := default dict .Values.customTokenEndpoint }}
{{- $bundle := default dict $given.caTrustBundle }}
{{- $selector := dict }}
{{- with $bundle.labels }}
{{- $_ := set $selector "matchLabels" . }}
{{- end }}
{{- with $bundle.matchExpressions }}
{{- $_ := set $selector "matchExpressions" . }}
{{- end }}
{{- $values := dict "caTrustBundle.signerName" $bundle.signerName "caTrustBundle.labels" (empty $selector | ternary "" (toJson $selector)) }}
{{- range $name := list "url" "sniName" "caConfigMap" "caData" }}
{{- $_ := set $values $name (get $given $name) }}
{{- end }}
{{- $settings := dict "annotationSuffix" $given.annotationSuffix "audience" $given.audience }}
{{- range $name, $other := dict
      "url" (list "azureKubernetesTokenProxy" "AZURE_KUBERNETES_TOKEN_PROXY")
      "sniName" (list "azureKubernetesSniName" "AZURE_KUBERNETES_SNI_NAME")
      "caData" (list "azureKubernetesCaData" "AZURE_KUBERNETES_CA_DATA")
      "caConfigMap" (list "azureKubernetesCAConfigMapName" "AZURE_KUBERNETES_CA_CONFIGMAP_NAME")
      "caTrustBundle.signerName" (list "azureKubernetesCACTBSignerName" "AZURE_KUBERNETES_CA_CTB_SIGNER_NAME")
      "caTrustBundle.labels" (list "azureKubernetesCACTBLabelSelector" "AZURE_KUBERNETES_CA_CTB_LABEL_SELECTOR") }}
{{- $value := get $values $name | default "" }}
{{- $renamed := get $given (first $other) | default "" }}
{{- if and $value $renamed (ne $value $renamed) }}
{{- fail (printf "customTokenEndpoint.%s and customTokenEndpoint.%s are names of the same setting and have different values: remove one of them" $name (first $other)) }}
{{- end }}
{{- $_ := set $settings $name (has (last $other) $variables | ternary "" (default $renamed $value)) }}
{{- end }}
{{- toJson $settings }}
{{- end }}
{{- end }}

{{- /* Refuses what can be seen to be wrong only by looking at several values, or needs a reason that a schema cannot give. */}}
{{- define "wisp.check" -}}
{{- $variables := (include "wisp.variables" . | fromJson).names }}
{{- $endpoint := include "wisp.endpoint" . | fromJson }}
{{- $given := default dict .Values.customTokenEndpoint }}
{{- $clouds := list "AzurePublicCloud" "AzureUSGovernmentCloud" "AzureChinaCloud" "AzureGermanCloud" }}
{{- $spellings := list "azurecloud" "azureusgovernment" }}
{{- range $clouds }}
{{- $spellings = append $spellings (lower .) }}
{{- end }}
{{- with .Values.azureEnvironment }}
{{- if not (has (lower .) $spellings) }}
{{- fail (printf "azureEnvironment is %q, which is not a cloud whose authority is known: use one of %s. For a cloud of your own, such as Azure Stack Hub, remove azureEnvironment and set authorityHost" . (join ", " $clouds)) }}
{{- end }}
{{- end }}
{{- with .Values.metricsBackend }}
{{- if ne (lower .) "prometheus" }}
{{- fail (printf "metricsBackend is %q, but metrics are served for prometheus only: remove metricsBackend" .) }}
{{- end }}
{{- end }}
{{- if hasKey (default dict .Values.podLabels) "azure.workload.identity/use" }}
{{- fail "podLabels has azure.workload.identity/use, with which the webhook's own pods would wait for the webhook: remove it" }}
{{- end }}
{{- include "wisp.checkGateway" . }}
{{- range .Values.extraEnv }}
{{- include "wisp.checkVariable" (list .name $.Values.gateway) }}
{{- end }}
{{- $authorities := list }}
{{- range $name, $variable := dict "caConfigMap" "AZURE_KUBERNETES_CA_CONFIGMAP_NAME" "caData" "AZURE_KUBERNETES_CA_DATA" "caTrustBundle.signerName" "AZURE_KUBERNETES_CA_CTB_SIGNER_NAME" }}
{{- if or (get $endpoint $name) (has $variable $variables) }}
{{- $authorities = append $authorities (printf "customTokenEndpoint.%s (or %s)" $name $variable) }}
{{- end }}
{{- end }}
{{- if gt (len $authorities) 1 }}
{{- fail (printf "%s are all set, but the custom token endpoint has its certificate authorities from one place: keep one of them" (join ", " $authorities)) }}
{{- end }}
{{- $hasSelector := or (get $endpoint "caTrustBundle.labels") (has "AZURE_KUBERNETES_CA_CTB_LABEL_SELECTOR" $variables) }}
{{- if and $hasSelector (not (or (get $endpoint "caTrustBundle.signerName") (has "AZURE_KUBERNETES_CA_CTB_SIGNER_NAME" $variables))) }}
{{- fail "customTokenEndpoint.caTrustBundle has labels or matchExpressions (or AZURE_KUBERNETES_CA_CTB_LABEL_SELECTOR is set) without a signer: set customTokenEndpoint.caTrustBundle.signerName" }}
{{- end }}
{{- with get $endpoint "caTrustBundle.labels" }}
{{- if hasKey (fromJson .) "Error" }}
{{- fail (printf "customTokenEndpoint.caTrustBundle (or azureKubernetesCACTBLabelSelector) is not a label selector in JSON: %q" .) }}
{{- end }}
{{- end }}
{{- if and $given.annotationSuffix (not (or $endpoint.url (has "AZURE_KUBERNETES_TOKEN_PROXY" $variables))) }}
{{- fail "customTokenEndpoint.annotationSuffix is set without an endpoint: set customTokenEndpoint.url" }}
{{- end }}
{{- end }}

{{- /* Refuses settings that contradict the gateway. */}}
{{- define "wisp.checkGateway" -}}
{{- $gateway := default dict .Values.gateway }}
{{- if $gateway.enabled }}
{{- $settings := list }}
{{- range $name, $value := omit (default dict .Values.customTokenEndpoint) "caTrustBundle" }}
{{- if $value }}
{{- $settings = append $settings (printf "customTokenEndpoint.%s" $name) }}
{{- end }}
{{- end }}
{{- range $name, $value := default dict (.Values.customTokenEndpoint).caTrustBundle }}
{{- if $value }}
{{- $settings = append $settings (printf "customTokenEndpoint.caTrustBundle.%s" $name) }}
{{- end }}
{{- end }}
{{- range (include "wisp.variables" . | fromJson).names }}
{{- if hasPrefix "AZURE_KUBERNETES_" . }}
{{- $settings = append $settings (printf "%s in extraEnv" .) }}
{{- end }}
{{- end }}
{{- if $settings }}
{{- fail (printf "gateway.enabled is set, which makes the gateway the custom token endpoint, but so is %s: remove one or the other" (join ", " $settings)) }}
{{- end }}
{{- if eq (default "api://AKSIdentityBinding" $gateway.audience) (include "wisp.audience" .) }}
{{- fail (printf "gateway.audience is %q, which is the audience of tokens for Entra: use another one, because the gateway must not accept those" (include "wisp.audience" .)) }}
{{- end }}
{{- if hasKey (default dict $gateway.podLabels) "azure.workload.identity/use" }}
{{- fail "gateway.podLabels has azure.workload.identity/use, but the gateway gets its own token without the webhook: remove it" }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if and (eq .name "AZURE_ENVIRONMENT") .valueFrom }}
{{- fail "extraEnv has AZURE_ENVIRONMENT from another object, but the gateway needs the cloud's authority: set azureEnvironment" }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The audience of tokens for Entra. */}}
{{- define "wisp.audience" -}}
{{ default "api://AzureADTokenExchange" .Values.audience }}
{{- end }}

{{- /* The URL of the authority, for a process that is not given a cloud's name. */}}
{{- define "wisp.authority" -}}
{{- $name := .Values.azureEnvironment }}
{{- range .Values.extraEnv }}
{{- if and (eq .name "AZURE_ENVIRONMENT") .value }}
{{- $name = .value }}
{{- end }}
{{- end }}
{{- $hosts := dict "azureusgovernment" "login.microsoftonline.us" "azureusgovernmentcloud" "login.microsoftonline.us" "azurechinacloud" "login.chinacloudapi.cn" "azuregermancloud" "login.microsoftonline.de" }}
{{- $host := get $hosts (default "" $name | lower) | default "login.microsoftonline.com" }}
{{- default (printf "https://%s/" $host) .Values.authorityHost }}
{{- end }}

{{- /* Refuses a variable of extraEnv that would have no effect. Others, such as HTTPS_PROXY, are passed on. */}}
{{- define "wisp.checkVariable" -}}
{{- $name := first . }}
{{- $gateway := default dict (last .) }}
{{- $values := dict
      "POD_NAMESPACE" "the chart sets it to the release's namespace: remove it"
      "PROXY_IMAGE" "the sidecar has its image from the value proxy.image, which has to be an image of wisp: set that, or remove the variable"
      "PROXY_INIT_IMAGE" "the redirect has its image from the value redirect.image, which has to be an image of wisp: set that, or remove the variable"
      "AZURE_ENVIRONMENT_FILEPATH" "clouds are not read from a file: set authorityHost" }}
{{- $read := list "AZURE_TENANT_ID" "AZURE_ENVIRONMENT" "AZURE_AUTHORITY_HOST" "AZURE_KUBERNETES_TOKEN_PROXY" "AZURE_KUBERNETES_SNI_NAME" "AZURE_KUBERNETES_CA_DATA" "AZURE_KUBERNETES_CA_CONFIGMAP_NAME" "AZURE_KUBERNETES_CA_CTB_SIGNER_NAME" "AZURE_KUBERNETES_CA_CTB_LABEL_SELECTOR" }}
{{- $read = concat $read (list "WISP_ADMISSION_ADDRESS" "WISP_ADMISSION_HEALTH_ADDRESS" "WISP_ADMISSION_CERTIFICATE_DAYS" "WISP_ADMISSION_AUTHORITY_DAYS" "WISP_ADMISSION_SHUTDOWN_DELAY" "WISP_ADMISSION_KUBECONFIG") }}
{{- $reader := "The webhook takes" }}
{{- if $gateway.enabled }}
{{- $read = concat $read (list "WISP_TOKENS_ADDRESS" "WISP_TOKENS_HEALTH_ADDRESS" "WISP_TOKENS_CERTIFICATE_DAYS" "WISP_TOKENS_AUTHORITY_DAYS" "WISP_TOKENS_CONNECTIONS_PER_SOURCE" "WISP_TOKENS_SHUTDOWN_DELAY" "WISP_TOKENS_KUBECONFIG") }}
{{- $reader = "The webhook and the gateway take" }}
{{- end }}
{{- with get $values $name }}
{{- fail (printf "extraEnv has %s, but %s" $name .) }}
{{- end }}
{{- if and (regexMatch "^(AZURE|WISP_ADMISSION|WISP_TOKENS)_" $name) (not (has $name $read)) }}
{{- fail (printf "extraEnv has %s, which would have no effect: correct its name, or use the value that there is for the setting (docs/how-to/install.md). %s %s" $name $reader (join ", " $read)) }}
{{- end }}
{{- end }}

{{- /* The image of azure-workload-identity's webhook, as its own values name it, is another program: it counts as no image. */}}
{{- define "wisp.isOtherImage" -}}
{{- if regexMatch "(^|/)workload-identity/webhook$" (default "" (.Values.image).repository) }}true{{ end }}
{{- end }}

{{- /* The bytes of a quantity of memory; of one with an unusual suffix, so many that no minimum is greater. */}}
{{- define "wisp.bytes" -}}
{{- $text := toJson . | trimAll "\"" }}
{{- $number := regexFind "^[0-9.]+" $text }}
{{- $scales := dict "m" 0.001 "" 1.0 "k" 1e3 "M" 1e6 "Ki" 1024.0 "Mi" 1048576.0 }}
{{- mulf (float64 $number) (get $scales (trimPrefix $number $text) | default 1e15) | int64 }}
{{- end }}

{{- define "wisp.leastMemory" -}}96Mi{{- end }}

{{- /* Whether the webhook could not run within its memory limit, as with azure-workload-identity's 30Mi. */}}
{{- define "wisp.isLowMemory" -}}
{{- $limit := dig "limits" "memory" "" (default dict .Values.resources) }}
{{- if $limit }}
{{- if lt (include "wisp.bytes" $limit | int64) (include "wisp.bytes" (include "wisp.leastMemory" .) | int64) }}true{{ end }}
{{- end }}
{{- end }}

{{- define "wisp.resources" -}}
{{- $resources := deepCopy (default dict .Values.resources) }}
{{- if include "wisp.isLowMemory" . }}
{{- $_ := set $resources.limits "memory" (include "wisp.leastMemory" .) }}
{{- end }}
{{- toYaml $resources }}
{{- end }}
