"""How good recommenders are: protocol, metrics, baselines, tests, reports."""
