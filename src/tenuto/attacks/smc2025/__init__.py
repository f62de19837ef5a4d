"""The attack of the SMC 2025 study: as its code performs it, and as its settings describe it."""
