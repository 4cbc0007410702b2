"""The Kubernetes API: where the API server is, credentials for it, requests, and watches."""
