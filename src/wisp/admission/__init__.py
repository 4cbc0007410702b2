"""Admission: what a labelled pod and its service account say, and what is put into the pod."""
