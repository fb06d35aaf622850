// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title Checks an EZKL proof, and that its instances are data on chain
/// @notice What the instances are compared with is read when the proof is checked, by calls that were fixed when this
/// contract was made, and so were the verifiers it trusts. A proof that was good for one block's data is good again
/// whenever the data is the same: preventing replay is the consumer's task.
/// @dev The verifier follows the offsets inside its calldata, so the encoded call is taken in its canonical form alone:
/// otherwise the instances compared here could be others than those the verifier sees.
contract DataAttestation {
    /// @dev Order of BN254's scalar field (EIP-197)
    uint256 private constant FIELD = 21888242871839275222246405745257275088548364400416034343698204186575808495617;
    uint256 private constant MAX_DECIMALS = 36;
    uint256 private constant MAX_SCALE = 128;

    /// @dev verifyProof(bytes,uint256[])
    bytes4 private constant VERIFY_PROOF = 0x1e8e1e13;

    /// @notice How a source's answer becomes instances
    /// Raw: a uint256 compared as it is (a Poseidon hash)
    /// Unsigned, Signed, SignedArray: uint256, int256 and int256[] in decimals, compared in fixed point
    enum Kind {
        Raw,
        Unsigned,
        Signed,
        SignedArray
    }

    /// @notice A call on chain whose answer the next instances must be
    struct Source {
        address account;
        Kind kind;
        uint8 decimals; // the answer stands for answer / 10**decimals
        uint8 scale; // the instance is floor(|value| * 2**scale + 1/2) with the value's sign
        uint32 numInstances; // 1, but for arrays
        bytes callData;
    }

    /// @notice Instances before this one are not attested
    uint256 public immutable firstInstance;
    uint256 public immutable numSources;
    mapping(uint256 index => Source) private _sources;
    mapping(address verifier => bool) private _isAllowed;

    /// @dev What the usual case needs lies in the code, where reading is free: the first verifier, and the first source
    /// if it is called by a selector alone. selector | numInstances | scale | decimals | kind | account; 0: in storage
    address private immutable _firstVerifier;
    uint256 private immutable _firstSource;

    error NoSources();
    error NoVerifiers();
    error SourceInvalid(uint256 source);
    error AccountWithoutCode(address account);
    error VerifierNotAllowed(address verifier);
    error CallNotVerifyProof();
    error CallNotCanonical();
    error InstanceMissing(uint256 instance);
    error SourceFailed(uint256 source);
    error SourceAnswerMalformed(uint256 source);
    error ValueOutOfField(uint256 source);
    error InstanceMismatch(uint256 instance, uint256 onChain, uint256 proven);
    error ProofRejected();

    constructor(address[] memory verifiers, Source[] memory sources_, uint256 firstInstance_) {
        if (verifiers.length == 0) revert NoVerifiers();
        if (sources_.length == 0) revert NoSources();
        for (uint256 i = 0; i < verifiers.length; ++i) {
            if (verifiers[i].code.length == 0) revert AccountWithoutCode(verifiers[i]);
            _isAllowed[verifiers[i]] = true;
        }
        for (uint256 i = 0; i < sources_.length; ++i) {
            Source memory source = sources_[i];
            if (source.account.code.length == 0) revert AccountWithoutCode(source.account);
            bool countFits = source.kind == Kind.SignedArray ? source.numInstances > 0 : source.numInstances == 1;
            if (!countFits || source.decimals > MAX_DECIMALS || source.scale > MAX_SCALE) revert SourceInvalid(i);
            _sources[i] = source;
        }
        numSources = sources_.length;
        firstInstance = firstInstance_;
        _firstVerifier = verifiers[0];
        _firstSource = sources_[0].callData.length == 4 ? _packed(sources_[0]) : 0;
    }

    /// @notice Whether a verifier is on the allow-list
    function isAllowed(address verifier) public view returns (bool) {
        return verifier == _firstVerifier || _isAllowed[verifier];
    }

    /// @notice Check a proof and its data
    /// @param verifier an EZKL verifier from the allow-list
    /// @param encoded calldata of its verifyProof(bytes,uint256[]), in canonical form
    /// @return true; every failure reverts with its own error
    function verifyWithDataAttestation(address verifier, bytes calldata encoded) external view returns (bool) {
        if (!isAllowed(verifier)) revert VerifierNotAllowed(verifier);
        _attest(_instancesOf(encoded));
        if (verifier.code.length == 0) revert AccountWithoutCode(verifier);
        (bool success, bytes memory answer) = verifier.staticcall(encoded);
        if (!success || answer.length != 32 || abi.decode(answer, (uint256)) != 1) revert ProofRejected();
        return true;
    }

    /// @notice The source at an index below numSources
    function sourceAt(uint256 index) external view returns (Source memory) {
        return _sources[index];
    }

    function _attest(uint256[] calldata instances) private view {
        uint256 next = firstInstance;
        for (uint256 i = 0; i < numSources; ++i) {
            Source memory source = i == 0 && _firstSource != 0 ? _unpacked(_firstSource) : _sources[i];
            (bool success, bytes memory answer) = source.account.staticcall(source.callData);
            if (!success) revert SourceFailed(i);
            uint256 count = source.numInstances;
            if (next + count > instances.length) revert InstanceMissing(instances.length);
            Kind kind = source.kind;
            if (kind == Kind.SignedArray) {
                _checkArray(answer, count, i);
            } else if (answer.length != 32) {
                revert SourceAnswerMalformed(i);
            }
            uint256 start = kind == Kind.SignedArray ? 64 : 0;
            for (uint256 j = 0; j < count; ++j) {
                uint256 expected = _felt(_word(answer, start + 32 * j), source, i);
                if (instances[next] != expected) revert InstanceMismatch(next, expected, instances[next]);
                ++next;
            }
        }
    }

    function _felt(uint256 word, Source memory source, uint256 index) private pure returns (uint256) {
        if (source.kind == Kind.Raw) {
            if (word >= FIELD) revert ValueOutOfField(index);
            return word;
        }
        bool isNegative = source.kind != Kind.Unsigned && word >> 255 == 1;
        uint256 magnitude = word;
        if (isNegative) {
            unchecked {
                magnitude = 0 - word;
            }
        }
        uint256 shifted = magnitude << source.scale;
        if (shifted >> source.scale != magnitude) revert ValueOutOfField(index);
        uint256 denominator = 10 ** uint256(source.decimals);
        uint256 rounded = shifted / denominator;
        if (2 * (shifted % denominator) >= denominator) ++rounded;
        if (rounded > FIELD / 2) revert ValueOutOfField(index);
        return isNegative && rounded != 0 ? FIELD - rounded : rounded;
    }

    function _packed(Source memory source) private pure returns (uint256) {
        return uint256(uint160(source.account)) | (uint256(source.kind) << 160) | (uint256(source.decimals) << 168)
            | (uint256(source.scale) << 176) | (uint256(source.numInstances) << 184)
            | (uint256(uint32(bytes4(source.callData))) << 216);
    }

    function _unpacked(uint256 packed) private pure returns (Source memory) {
        return Source({
            account: address(uint160(packed)),
            kind: Kind(uint8(packed >> 160)),
            decimals: uint8(packed >> 168),
            scale: uint8(packed >> 176),
            numInstances: uint32(packed >> 184),
            callData: abi.encodePacked(bytes4(uint32(packed >> 216)))
        });
    }

    /// @dev An int256[] of `count` elements and nothing else
    function _checkArray(bytes memory answer, uint256 count, uint256 index) private pure {
        bool isWhole = answer.length == 64 + 32 * count && _word(answer, 0) == 32 && _word(answer, 32) == count;
        if (!isWhole) revert SourceAnswerMalformed(index);
    }

    /// @dev selector | 0x40 | offset of instances | proof's length | proof, padded | their number | instances,
    /// and at most one word of zeros, which EZKL appends
    function _instancesOf(bytes calldata encoded) private pure returns (uint256[] calldata instances) {
        if (encoded.length < 4 || bytes4(encoded[:4]) != VERIFY_PROOF) revert CallNotVerifyProof();
        bytes calldata arguments = encoded[4:];
        uint256 size = arguments.length;
        if (size < 128 || _wordAt(arguments, 0) != 64) revert CallNotCanonical();
        uint256 proofLength = _wordAt(arguments, 64);
        if (proofLength > size) revert CallNotCanonical();
        uint256 offset = 96 + ((proofLength + 31) / 32) * 32;
        if (_wordAt(arguments, 32) != offset || offset + 32 > size) revert CallNotCanonical();
        if (proofLength % 32 != 0 && _wordAt(arguments, offset - 32) << (8 * (proofLength % 32)) != 0) {
            revert CallNotCanonical();
        }
        uint256 count = _wordAt(arguments, offset);
        if (count > size / 32) revert CallNotCanonical();
        uint256 end = offset + 32 + 32 * count;
        if (size != end && !(size == end + 32 && _wordAt(arguments, end) == 0)) revert CallNotCanonical();
        assembly {
            instances.offset := add(arguments.offset, add(offset, 32))
            instances.length := count
        }
    }

    function _wordAt(bytes calldata data, uint256 position) private pure returns (uint256 word) {
        assembly {
            word := calldataload(add(data.offset, position))
        }
    }

    function _word(bytes memory data, uint256 position) private pure returns (uint256 word) {
        assembly {
            word := mload(add(add(data, 32), position))
        }
    }
}
