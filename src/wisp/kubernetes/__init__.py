"""The Kubernetes API as the webhook uses it: where the API server is, requests to it, and watches."""
