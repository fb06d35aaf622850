// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

interface IConsumer {
    function rawReceiveCompute(
        uint32 subscriptionId,
        uint32 interval,
        uint16 redundancy,
        address node,
        bytes calldata input,
        bytes calldata output,
        bytes calldata proof,
        bytes32 containerId,
        uint256 index
    ) external;
}

interface IVerifier {
    function isSupportedToken(address token) external view returns (bool);
    function fee(address token) external view returns (uint256);
    function getWallet() external view returns (address);
    function requestProofVerification(uint32 subscriptionId, uint32 interval, address node, bytes calldata proof)
        external;
}

/// @title A small coordinator with the interface of the Infernet SDK 1.x, for one-time subscriptions paid in ether
/// @notice For the example and its tests; on a real chain the SDK's own is used. Wallets are balances kept here. As
/// there, a node that delivers a proof stakes the payment, a good proof is paid, a bad one costs the stake, and the
/// output is delivered either way: a consumer must check for itself before it acts.
contract Coordinator {
    struct Subscription {
        address owner;
        uint16 redundancy;
        uint16 numDelivered;
        bytes32 containerId;
        uint256 paymentAmount;
        address wallet;
        address verifier;
    }

    struct ProofRequest {
        address nodeWallet;
        uint256 stake;
    }

    mapping(uint32 id => Subscription) private _subscriptions;
    mapping(bytes32 delivery => bool) public nodeResponded;
    mapping(bytes32 delivery => ProofRequest) public proofRequests;
    mapping(address wallet => uint256) public balanceOf;
    uint32 public numSubscriptions;

    event SubscriptionCreated(uint32 indexed id);
    event SubscriptionFulfilled(uint32 indexed id, address indexed node);
    event ProofVerified(uint32 indexed id, uint32 indexed interval, address indexed node, bool active, bool valid);

    error SubscriptionNotFound();
    error IntervalMismatch();
    error IntervalCompleted();
    error NodeRespondedAlready();
    error InsufficientFunds();
    error UnsupportedVerifierToken();
    error UnauthorizedVerifier();
    error ProofRequestNotFound();

    /// @notice Put ether into a wallet
    function deposit(address wallet) external payable {
        balanceOf[wallet] += msg.value;
    }

    function createSubscription(
        string memory containerId,
        uint32,
        uint32,
        uint16 redundancy,
        bool,
        address,
        uint256 paymentAmount,
        address wallet,
        address verifier
    ) external returns (uint32 id) {
        id = ++numSubscriptions;
        _subscriptions[id] = Subscription(
            msg.sender, redundancy, 0, keccak256(abi.encode(containerId)), paymentAmount, wallet, verifier
        );
        emit SubscriptionCreated(id);
    }

    function getSubscription(uint32 id) external view returns (Subscription memory) {
        return _subscriptions[id];
    }

    /// @notice Deliver a container's reply
    function deliverCompute(
        uint32 subscriptionId,
        uint32 interval,
        bytes calldata input,
        bytes calldata output,
        bytes calldata proof,
        address nodeWallet
    ) external {
        Subscription storage subscription = _subscriptions[subscriptionId];
        if (subscription.owner == address(0)) revert SubscriptionNotFound();
        if (interval != 1) revert IntervalMismatch();
        if (subscription.numDelivered == subscription.redundancy) revert IntervalCompleted();
        bytes32 delivery = keccak256(abi.encode(subscriptionId, interval, msg.sender));
        if (nodeResponded[delivery]) revert NodeRespondedAlready();
        nodeResponded[delivery] = true;
        uint16 redundancy = ++subscription.numDelivered;
        if (subscription.paymentAmount > 0) _pay(subscription, delivery, subscriptionId, interval, proof, nodeWallet);
        IConsumer(subscription.owner).rawReceiveCompute(
            subscriptionId, interval, redundancy, msg.sender, input, output, proof, bytes32(0), 0
        );
        emit SubscriptionFulfilled(subscriptionId, msg.sender);
    }

    /// @notice A verifier says what a proof is worth
    function finalizeProofVerification(uint32 subscriptionId, uint32 interval, address node, bool valid) external {
        Subscription storage subscription = _subscriptions[subscriptionId];
        if (msg.sender != subscription.verifier) revert UnauthorizedVerifier();
        bytes32 delivery = keccak256(abi.encode(subscriptionId, interval, node));
        ProofRequest memory request = proofRequests[delivery];
        if (request.nodeWallet == address(0)) revert ProofRequestNotFound();
        delete proofRequests[delivery];
        // paid: the node's stake comes back with the consumer's money; slashed: the consumer gets both
        balanceOf[valid ? request.nodeWallet : subscription.wallet] += request.stake;
        emit ProofVerified(subscriptionId, interval, node, true, valid);
    }

    function _pay(
        Subscription storage subscription,
        bytes32 delivery,
        uint32 subscriptionId,
        uint32 interval,
        bytes calldata proof,
        address nodeWallet
    ) private {
        uint256 amount = subscription.paymentAmount;
        _take(subscription.wallet, amount);
        if (subscription.verifier == address(0)) {
            balanceOf[nodeWallet] += amount;
            return;
        }
        IVerifier verifier = IVerifier(subscription.verifier);
        if (!verifier.isSupportedToken(address(0))) revert UnsupportedVerifierToken();
        uint256 fee = verifier.fee(address(0));
        if (fee > amount) revert InsufficientFunds();
        balanceOf[verifier.getWallet()] += fee;
        _take(nodeWallet, amount);
        proofRequests[delivery] = ProofRequest(nodeWallet, amount - fee + amount);
        verifier.requestProofVerification(subscriptionId, interval, msg.sender, proof);
    }

    function _take(address wallet, uint256 amount) private {
        if (balanceOf[wallet] < amount) revert InsufficientFunds();
        balanceOf[wallet] -= amount;
    }
}
