"""The benchmark's runner: starts targets side by side, samples them in turn, judges the goals.

`table` says what is measured, `targets` what it is measured on, `machine` keeps samples honest,
`sampling` takes them, and `report` makes ratios of them. `resources` and `envoy` hold the
configurations of the two proxies.
"""
