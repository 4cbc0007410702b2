"""What `wisp run`, `wisp demo` and `wisp lab` share: processes, namespaces, the interpreter, and builds."""
