// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

interface ICoordinator {
    function finalizeProofVerification(uint32 subscriptionId, uint32 interval, address node, bool valid) external;
}

/// @title Lets Infernet's payments settle on EZKL proofs: an IVerifier of the Infernet SDK 1.x
/// @notice The proof is the whole calldata of verifyProof(bytes,uint256[]) of one EZKL verifier. A proof is paid when it
/// holds, whatever it is about: that it is about what was asked is for the consumer to check before it acts.
contract PaymentVerifier {
    bytes4 private constant VERIFY_PROOF = 0x1e8e1e13;

    ICoordinator public immutable coordinator;
    address public immutable verifier;
    address payable public immutable wallet;
    uint256 private immutable _fee;

    error NotCoordinator();
    error AccountWithoutCode(address account);

    constructor(ICoordinator coordinator_, address verifier_, address payable wallet_, uint256 fee_) {
        if (verifier_.code.length == 0) revert AccountWithoutCode(verifier_);
        (coordinator, verifier, wallet, _fee) = (coordinator_, verifier_, wallet_, fee_);
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
        coordinator.finalizeProofVerification(subscriptionId, interval, node, isGood(proof));
    }

    /// @notice Whether the verifier accepts a proof; what is no call of verifyProof is no proof
    function isGood(bytes calldata proof) public view returns (bool) {
        if (proof.length < 4 || bytes4(proof[:4]) != VERIFY_PROOF) return false;
        (bool success, bytes memory answer) = verifier.staticcall(proof);
        return success && answer.length == 32 && abi.decode(answer, (uint256)) == 1;
    }

    receive() external payable {
        (bool success,) = wallet.call{value: msg.value}("");
        require(success);
    }
}
