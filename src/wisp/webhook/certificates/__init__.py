"""The webhook certificates: when to issue them, who may replace them, and where they are stored."""
