// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title Holds the data that proofs are compared with
/// @notice For trying things out: whoever deployed it writes a hash or a vector, a DataAttestation reads them.
contract DataStore {
    address public immutable owner = msg.sender;
    uint256 public hash;
    int256[] private _values;

    error NotOwner();

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner();
        _;
    }

    /// @notice Keep the Poseidon hash of a circuit's input
    function setHash(uint256 hash_) external onlyOwner {
        hash = hash_;
    }

    /// @notice Keep a vector in decimals
    function setValues(int256[] calldata values_) external onlyOwner {
        _values = values_;
    }

    /// @notice The vector
    function values() external view returns (int256[] memory) {
        return _values;
    }
}
