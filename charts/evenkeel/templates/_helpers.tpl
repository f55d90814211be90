{{- define "evenkeel.name" -}}
{{- if contains "evenkeel" .Release.Name -}}
{{- printf "%s-operator" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-evenkeel-operator" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "evenkeel.selector" -}}
app.kubernetes.io/name: evenkeel-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "evenkeel.labels" -}}
{{ include "evenkeel.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: evenkeel
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "evenkeel.operatorImage" -}}
{{- .Values.operator.image | default (printf "evenkeel-operator:%s" .Chart.AppVersion) -}}
{{- end -}}

{{- define "evenkeel.sidecarImage" -}}
{{- .Values.sidecar.image | default (printf "evenkeel-sidecar:%s" .Chart.AppVersion) -}}
{{- end -}}

{{- /* What the webhook needs to make a sidecar; read by the operator as JSON. */ -}}
{{- define "evenkeel.sidecar" -}}
{{- $resources := dict -}}
{{- range $kind, $quantities := .Values.sidecar.resources -}}
{{- $written := dict -}}
{{- range $name, $quantity := $quantities }}{{ $_ := set $written $name (toString $quantity) }}{{ end -}}
{{- $_ := set $resources $kind $written -}}
{{- end -}}
{{- $sidecar := dict "image" (include "evenkeel.sidecarImage" .) "resources" $resources "runAsUser" (int64 .Values.sidecar.runAsUser) -}}
{{- with .Values.imagePullPolicy }}{{ $_ := set $sidecar "imagePullPolicy" . }}{{ end -}}
{{- $sidecar | toJson -}}
{{- end -}}

{{- /* Namespaces whose pods are never touched. */ -}}
{{- define "evenkeel.excluded" -}}
{{- prepend (prepend .Values.webhook.excludedNamespaces .Release.Namespace) "kube-system" | uniq | toJson -}}
{{- end -}}

{{- define "evenkeel.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "evenkeel.testNamespace" -}}
{{- .Values.test.namespace | default (printf "%s-test" .Release.Name) -}}
{{- end -}}
