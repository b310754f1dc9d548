"""The benchmark's runner: starts targets side by side, samples them in turn, judges the goals.

`rows` has the words, `table` says what is measured, `targets` what it is measured on, `machine`
keeps samples honest, `sampling` takes them within a `budget` of time, `measurements` find out what
no load on one target shows, and `report` makes ratios of it all. `resources` and `envoy` hold the
configurations of the two proxies, `namespaces` what lies between two Pods.
"""
