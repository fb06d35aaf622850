// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

interface ICoordinator {
    function finalizeProofVerification(uint32 subscriptionId, uint32 interval, address node, bool valid) external;
}

interface IConsumer {
    function isProofOf(uint32 subscriptionId, bytes calldata proof) external returns (bool);
}

/// @title Lets Infernet's payments settle on EZKL proofs: an IVerifier of the Infernet SDK 1.x
/// @notice For the subscriptions of one consumer, which knows what its proofs must be about: a proof that merely holds
/// can be another's, replayed. So a node depends on the consumer's code for its stake, and should read it, or simulate
/// its delivery, before it works for it.
contract PaymentVerifier {
    ICoordinator public immutable coordinator;
    IConsumer public immutable consumer;
    address payable public immutable wallet;
    uint256 private immutable _fee;

    error NotCoordinator();
    error AccountWithoutCode(address account);

    constructor(ICoordinator coordinator_, IConsumer consumer_, address payable wallet_, uint256 fee_) {
        if (address(consumer_).code.length == 0) revert AccountWithoutCode(address(consumer_));
        (coordinator, consumer, wallet, _fee) = (coordinator_, consumer_, wallet_, fee_);
    }

    /// @notice Where fees go
    function getWallet() external view returns (address) {
        return wallet;
    }

    /// @notice Ether alone
    function isSupportedToken(address token) public pure returns (bool) {
        return token == address(0);
    }

    /// @notice For one proof, in a supported token
    function fee(address token) external view returns (uint256) {
        return isSupportedToken(token) ? _fee : 0;
    }

    /// @notice Check a proof and tell the coordinator at once
    function requestProofVerification(uint32 subscriptionId, uint32 interval, address node, bytes calldata proof)
        external
    {
        if (msg.sender != address(coordinator)) revert NotCoordinator();
        bool isGood = false;
        try consumer.isProofOf(subscriptionId, proof) returns (bool isProof) {
            isGood = isProof;
        } catch {} // whatever the reason, it is no proof
        coordinator.finalizeProofVerification(subscriptionId, interval, node, isGood);
    }

    receive() external payable {
        (bool success,) = wallet.call{value: msg.value}("");
        require(success);
    }
}
