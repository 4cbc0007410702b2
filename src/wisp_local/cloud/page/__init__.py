"""The local cloud's web page: its resources, and the outcome of every token request, offline.

tokens, explanation, refusal   pure: a token decoded, the nearest federated credential, and how to fix a refusal
record                         the last exchanges, in memory only
views, rendering               the contents of the templates, and the templates
guard, app                     who may see the page, and its routes
"""
