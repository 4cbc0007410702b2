"""Clusters of the local cloud and what is behind them."""

ELSEWHERE = "https://api.test:6443/"
