"""The tests of the contract: each takes the fixture `backend` of `unpool.testing.plugin`, a kind of arrays."""
