"""The token gateway: one federated credential serves every workload of a cluster, authorised by Kubernetes RBAC."""
