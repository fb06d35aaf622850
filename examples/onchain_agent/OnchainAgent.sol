// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

interface ICoordinator {
    function createSubscription(
        string memory containerId,
        uint32 frequency,
        uint32 period,
        uint16 redundancy,
        bool lazy,
        address paymentToken,
        uint256 paymentAmount,
        address wallet,
        address verifier
    ) external returns (uint32);
}

interface IDataAttestation {
    function verifyWithDataAttestation(address verifier, bytes calldata encoded) external view returns (bool);
}

/// @title Acts on what agents made of a message, once the decision is proven
/// @notice ask() -> every agent replies with a rationale and a vector -> the vectors are averaged here -> the summarizer
/// replies with an action and a proof -> the proof is checked against the averaged vector -> the contract acts.
/// What the agents' language models said is taken on trust from their nodes; what follows from it is proven. With a
/// circuit of hashed inputs the hash of the vector is taken on trust from the summarizer's node too: then the proof says
/// only that the action follows from some vector with this hash.
contract OnchainAgent {
    enum Action {
        Noop,
        Buy,
        Sell
    }

    struct Message {
        address sender;
        uint16 numReplies;
        bool isDecided;
        Action action;
        string text;
        int256[] vector; // the sum of the replies, then their average, 1e18
    }

    /// @dev What a subscription was made for
    struct Request {
        uint48 messageId;
        bool isSummary;
        bool isProven; // the payment verifier was told so, and its node is paid
    }

    ICoordinator public immutable coordinator;
    uint16 public immutable numAgents;
    uint256 public immutable vectorSize;
    bool public immutable isHashed;
    address public immutable owner = msg.sender;
    address public verifier;
    IDataAttestation public attestation;
    address public paymentVerifier;
    uint256 public payment;

    uint48 public numMessages;
    mapping(uint48 messageId => Message) private _messages;
    mapping(uint32 subscriptionId => Request) public requests;
    mapping(uint48 messageId => mapping(address node => bool)) public hasReplied;

    /// @dev What the attestation reads while a decision is checked
    uint48 private _checked;
    uint256 private _checkedHash;

    event Asked(uint48 indexed messageId, uint32 subscriptionId);
    event Replied(uint48 indexed messageId, address node, string rationale);
    event Averaged(uint48 indexed messageId, uint32 subscriptionId);
    event Acted(uint48 indexed messageId, Action action);
    event Refused(uint48 indexed messageId, address node, bytes reason);

    error NotOwner();
    error NotSelf();
    error NotCoordinator();
    error NotPaymentVerifier();
    error RequestUnknown(uint32 subscriptionId);
    error MessageMismatch(uint48 expected, uint48 given);
    error AlreadyReplied(address node);
    error AlreadyDecided(uint48 messageId);
    error VectorMismatch();
    error ActionMismatch(uint256 proven, uint8 claimed);

    modifier onlyCoordinator() {
        if (msg.sender != address(coordinator)) revert NotCoordinator();
        _;
    }

    constructor(ICoordinator coordinator_, uint16 numAgents_, uint256 vectorSize_, bool isHashed_) {
        coordinator = coordinator_;
        numAgents = numAgents_;
        vectorSize = vectorSize_;
        isHashed = isHashed_;
    }

    /// @notice Say what proofs are checked with: the attestation must read values() or hash() of this contract
    function setVerification(address verifier_, IDataAttestation attestation_) external {
        if (msg.sender != owner) revert NotOwner();
        (verifier, attestation) = (verifier_, attestation_);
    }

    /// @notice Pay for summaries, on proofs that a payment verifier finds good
    function setPayment(address paymentVerifier_, uint256 payment_) external {
        if (msg.sender != owner) revert NotOwner();
        (paymentVerifier, payment) = (paymentVerifier_, payment_);
    }

    /// @notice Ask the agents about a message; where summaries are paid, for the owner, who pays them
    function ask(string calldata text) external returns (uint48 messageId) {
        if (payment > 0 && msg.sender != owner) revert NotOwner();
        messageId = ++numMessages;
        Message storage message = _messages[messageId];
        (message.sender, message.text, message.vector) = (msg.sender, text, new int256[](vectorSize));
        uint32 id = coordinator.createSubscription(
            "agent", 1, 0, numAgents, false, address(0), 0, address(0), address(0)
        );
        requests[id] = Request(messageId, false, false);
        emit Asked(messageId, id);
    }

    /// @notice What a node gives its container (the SDK's consumers have this function)
    function getContainerInputs(uint32 subscriptionId, uint32, uint32, address) external view returns (bytes memory) {
        Request memory request = _request(subscriptionId);
        Message storage message = _messages[request.messageId];
        if (request.isSummary) return abi.encode(message.vector);
        return abi.encode(request.messageId, message.sender, message.text);
    }

    /// @notice What a node delivers (the SDK's consumers have this function)
    function rawReceiveCompute(
        uint32 subscriptionId,
        uint32,
        uint16,
        address node,
        bytes calldata input,
        bytes calldata output,
        bytes calldata proof,
        bytes32,
        uint256
    ) external onlyCoordinator {
        Request memory request = _request(subscriptionId);
        (bytes memory rawInput,) = abi.decode(input, (bytes, bytes));
        (bytes memory rawOutput,) = abi.decode(output, (bytes, bytes));
        if (!request.isSummary) {
            _add(request.messageId, node, rawInput, rawOutput);
        } else if (payment == 0) {
            this.decide(request.messageId, rawInput, rawOutput, proof);
        } else {
            try this.decide(request.messageId, rawInput, rawOutput, proof) {}
            catch (bytes memory reason) {
                // to revert undoes what the coordinator did: wanted for a payment, and not for a slashing
                if (request.isProven) _revertWith(reason);
                emit Refused(request.messageId, node, reason);
                _askForSummary(request.messageId);
            }
        }
    }

    /// @notice Whether a proof holds and is of the vector that a summary was asked for, so that no other is paid
    /// @dev With a circuit of hashed inputs: whether it holds; of which vector is taken on trust from its node
    function isProofOf(uint32 subscriptionId, bytes calldata proof) external returns (bool) {
        if (msg.sender != paymentVerifier) revert NotPaymentVerifier();
        (, uint256[] memory instances) = abi.decode(proof[4:], (bytes, uint256[]));
        _check(_request(subscriptionId).messageId, instances[0], proof);
        return requests[subscriptionId].isProven = true;
    }

    /// @dev Called by this contract alone, so that a failure can be caught
    function decide(uint48 messageId, bytes calldata rawInput, bytes calldata rawOutput, bytes calldata proof)
        external
    {
        if (msg.sender != address(this)) revert NotSelf();
        Message storage message = _messages[messageId];
        if (message.isDecided) revert AlreadyDecided(messageId);
        (bytes memory vector, uint256 poseidonHash) = abi.decode(rawInput, (bytes, uint256));
        if (keccak256(vector) != keccak256(abi.encode(message.vector))) revert VectorMismatch();
        uint8 action = abi.decode(rawOutput, (uint8));
        // the attestation takes the call in canonical form alone, so these are the verifier's instances
        (, uint256[] memory instances) = abi.decode(proof[4:], (bytes, uint256[]));
        uint256 proven = instances[instances.length - 1];
        if (proven != action) revert ActionMismatch(proven, action);
        _check(messageId, poseidonHash, proof);
        message.isDecided = true;
        message.action = Action(action);
        emit Acted(messageId, message.action);
    }

    /// @notice A message
    function messageAt(uint48 messageId) external view returns (Message memory) {
        return _messages[messageId];
    }

    /// @notice The vector of the decision that is being checked: what a circuit of public inputs is compared with
    function values() external view returns (int256[] memory) {
        return _messages[_checked].vector;
    }

    /// @notice The hash that its node brought: what a circuit of hashed inputs is compared with
    function hash() external view returns (uint256) {
        return _checkedHash;
    }

    /// @dev The attestation reverts with what is wrong
    function _check(uint48 messageId, uint256 poseidonHash, bytes calldata proof) private {
        _checked = messageId;
        if (isHashed) _checkedHash = poseidonHash;
        attestation.verifyWithDataAttestation(verifier, proof);
    }

    function _revertWith(bytes memory reason) private pure {
        assembly ("memory-safe") {
            revert(add(reason, 32), mload(reason))
        }
    }

    function _request(uint32 subscriptionId) private view returns (Request memory request) {
        request = requests[subscriptionId];
        if (request.messageId == 0) revert RequestUnknown(subscriptionId);
    }

    function _add(uint48 messageId, address node, bytes memory rawInput, bytes memory rawOutput) private {
        (bytes32 hashed, uint48 repliedId,) = abi.decode(rawInput, (bytes32, uint48, address));
        (string memory rationale, bytes memory vectors) = abi.decode(rawOutput, (string, bytes));
        if (repliedId != messageId) revert MessageMismatch(messageId, repliedId);
        if (hasReplied[messageId][node]) revert AlreadyReplied(node);
        hasReplied[messageId][node] = true;
        int256[] memory added = abi.decode(vectors, (int256[]));
        if (keccak256(vectors) != hashed || added.length != vectorSize) revert VectorMismatch();
        Message storage message = _messages[messageId];
        bool isLast = ++message.numReplies == numAgents;
        for (uint256 i = 0; i < added.length; ++i) {
            int256 sum = message.vector[i] + added[i];
            message.vector[i] = isLast ? sum / int256(uint256(numAgents)) : sum; // rounds towards zero
        }
        emit Replied(messageId, node, rationale);
        if (isLast) _askForSummary(messageId);
    }

    function _askForSummary(uint48 messageId) private {
        uint32 id = coordinator.createSubscription(
            "summarizer", 1, 0, 1, false, address(0), payment, address(this), paymentVerifier
        );
        requests[id] = Request(messageId, true, false);
        emit Averaged(messageId, id);
    }
}
