"""The one error of this package."""


class CalldataError(ValueError):
    """A proof, an instance or calldata is not of the one form that a verifier is given."""
