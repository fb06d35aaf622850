"""``llm-inference-service``: serve, make and measure models, check the configuration."""

import argparse
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from adapters.settings import read_settings
from domain.errors import ConfigurationError
from entrypoints.start_failure import EXIT_CONFIGURATION, EXIT_INTERRUPTED

EXIT_USAGE = 2
NODE_MODULES = Path("ezkl/contracts/node_modules")
"""Where `make contracts` puts them."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command != "serve":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    _see_working_directory()
    if options.command is None:
        parser.print_help()
        return EXIT_USAGE
    try:
        return _run(options, rest)
    except ConfigurationError as error:
        print(f"llm-inference-service: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _run(options: argparse.Namespace, hypercorn_arguments: list[str]) -> int:
    run: Callable[[argparse.Namespace], int]
    match options.command:
        case "serve":
            return _serve(hypercorn_arguments)
        case "model":
            run = _model
        case "circuit":
            from entrypoints.circuits import run_circuit_command as run
        case "proof" if options.proof_command == "deploy":
            from entrypoints.deployment import run_deploy_command as run
        case "proof":
            from entrypoints.proofs import run_proof_command as run
        case "jobs":
            from entrypoints.job_command import run_jobs_command as run
        case "bench":
            from entrypoints.load_command import run_bench_command as run
        case _:
            from entrypoints.doctor import examine

            return examine(read_settings())
    return run(options)


def _see_working_directory() -> None:
    # as Hypercorn does in its workers: a workflow module may lie beside the .env file
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def _serve(hypercorn_arguments: list[str]) -> int:
    from adapters.telemetry.logs import configure_logs
    from entrypoints.launch import launch
    from entrypoints.preparation import prepare

    settings = read_settings()
    configure_logs(settings.log_level, settings.log_format)
    return launch(hypercorn_arguments, settings) if prepare(settings) else EXIT_CONFIGURATION


def _model(options: argparse.Namespace) -> int:
    match options.model_command:
        case "build":
            from adapters.onnx.builder import BuildOptions, Precision, TqdmReporter, build_model_folder

            build_options = BuildOptions(
                precision=Precision(options.precision),
                head_precision=Precision(options.head_precision) if options.head_precision else None,
                embedding_precision=Precision(options.embedding_precision)
                if options.embedding_precision
                else None,
                has_hidden_states=options.hidden_states,
            )
            build_model_folder(options.source, options.out, build_options, TqdmReporter())
            print(options.out)
        case "export":
            from adapters.onnx.builder import TqdmReporter
            from entrypoints.model_export import export

            export(options.source, options.out, read_settings(), TqdmReporter())
            print(options.out)
        case "perplexity":
            from entrypoints.model_perplexity import print_perplexity

            print_perplexity(options.folder, options.reference)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="llm-inference-service", description=__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=version("llm-inference-service"))
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser(
        "serve",
        help="serve the workflow; takes Hypercorn's arguments (--bind, --workers, --reload, …)",
        allow_abbrev=False,
    )
    commands.add_parser("doctor", help="check settings, model, providers and workflows")
    model = commands.add_parser("model", help="make and measure model folders")
    model_commands = model.add_subparsers(dest="model_command", metavar="COMMAND", required=True)
    build = model_commands.add_parser(
        "build", help="build a model folder from a GGUF file or a safetensors folder, without torch"
    )
    build.add_argument("source", type=Path, help="GGUF file, or folder with config.json and *.safetensors")
    build.add_argument("--out", type=Path, required=True, help="the folder to make")
    precisions = ["fp32", "int8_smooth", "int8_block", "int4_block"]
    build.add_argument("--precision", choices=precisions, default="int8_smooth", help="of the weights")
    build.add_argument("--head-precision", choices=precisions, help="of the output layer (as the weights)")
    of_embedding = ["fp32", "int8_block", "int4_block"]
    build.add_argument(
        "--embedding-precision",
        choices=of_embedding,
        help="of the embedding (fp32, unless the source has 8 bits of it)",
    )
    build.add_argument(
        "--hidden-states",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="give hidden states too, for embeddings (default: yes)",
    )
    export = model_commands.add_parser(
        "export", help="export any Hugging Face checkpoint with optimum (needs the extra 'optimum')"
    )
    export.add_argument("source", help="Hub name, or folder of a checkpoint")
    export.add_argument("--out", type=Path, required=True, help="the folder to make")
    perplexity = model_commands.add_parser("perplexity", help="measure a model folder on two fixed texts")
    perplexity.add_argument("folder", type=Path)
    perplexity.add_argument("--reference", type=Path, help="a folder to compare with, e.g. at fp32")
    _add_bench_command(commands)
    _add_circuit_commands(commands)
    _add_proof_commands(commands)
    return parser


def _add_bench_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    bench = commands.add_parser(
        "bench", help="look how fast a server with OpenAI's API answers; its token in LLM_BENCH_TOKEN"
    )
    bench.add_argument("url", help="e.g. http://127.0.0.1:4999")
    bench.add_argument("--callers", default="1,4,16", help="at once, one after the other (default: 1,4,16)")
    bench.add_argument("--seconds", type=float, default=10.0, help="for each (default: 10)")
    bench.add_argument("--tokens", type=int, default=64, help="of an answer at most (default: 64)")
    bench.add_argument("--model", help="its name there (default: the first that the server lists)")


def _add_circuit_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    circuit = commands.add_parser("circuit", help="make and check circuits that decisions are proved with")
    circuit_commands = circuit.add_subparsers(dest="circuit_command", metavar="COMMAND", required=True)
    build = circuit_commands.add_parser("build", help="build a circuit folder from an ONNX model")
    build.add_argument("model", type=Path, help="ONNX file with one input of fixed shape")
    build.add_argument("--out", type=Path, required=True, help="the folder to make")
    build.add_argument(
        "--inputs",
        choices=["hashed", "public"],
        default="hashed",
        help="what a proof tells of them",
    )
    build.add_argument(
        "--samples", type=Path, help="JSON list of inputs as they will come: the parameters are tuned on them"
    )
    build.add_argument("--logrows", type=int, default=11, help="rows of the circuit, as a power of two")
    build.add_argument("--decomp-base", type=int, default=128, help="base that integers are written to")
    build.add_argument("--decomp-legs", type=int, default=4, help="digits that integers have")
    build.add_argument("--scale", type=int, default=7, help="binary digits after the point; 0 for integers")
    build.add_argument(
        "--inner-cols", type=int, default=2, help="columns that inner products are spread over"
    )
    build.add_argument("--srs", type=Path, help="a reference string from a ceremony (else an insecure one)")
    build.add_argument(
        "--node-modules",
        type=Path,
        default=NODE_MODULES,
        help="where npm's package solc is; without it the verifier is not compiled",
    )
    for name, text in (
        ("verify-artifacts", "compare a circuit folder with its manifest"),
        ("inspect", "tell what a circuit is, and what its contract costs to deploy"),
    ):
        parser = circuit_commands.add_parser(name, help=text)
        parser.add_argument("folder", type=Path)


def _add_proof_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    jobs = commands.add_parser("jobs", help="look after the journal of jobs")
    job_commands = jobs.add_subparsers(dest="job_command", metavar="COMMAND", required=True)
    erase = job_commands.add_parser("erase", help="erase finished jobs, texts and results")
    erase.add_argument(
        "--older-than", type=float, metavar="SECONDS", help="finished longer ago (default: all)"
    )
    proof = commands.add_parser("proof", help="check proofs, and deploy what checks them on chain")
    proof_commands = proof.add_subparsers(dest="proof_command", metavar="COMMAND", required=True)
    verify = proof_commands.add_parser("verify", help="check the proof in a saved reply")
    verify.add_argument("reply", type=Path, help="JSON file with the body of a reply")
    verify.add_argument("--circuit", type=Path, help="check natively, with this circuit folder")
    verify.add_argument("--rpc", help="URL of a chain's node, to check there")
    verify.add_argument("--verifier", help="address of the circuit's verifier contract")
    verify.add_argument("--attestation", help="address of a DataAttestation contract")
    deploy = proof_commands.add_parser(
        "deploy", help="deploy a circuit's verifier and a DataAttestation that allows it"
    )
    deploy.add_argument("circuit", type=Path, help="circuit folder")
    deploy.add_argument("--rpc", required=True, help="URL of a chain's node")
    deploy.add_argument(
        "--source",
        metavar="ADDRESS:FUNCTION",
        help="what the proof's input is compared with: a function without arguments that returns the hash "
        "(uint256), or all inputs (int256[]) for a circuit of public inputs; without it a DataStore is "
        "deployed, to try things out",
    )
    deploy.add_argument("--decimals", type=int, default=18, help="of int256[] values (default: 18)")
    deploy.add_argument(
        "--node-modules",
        type=Path,
        default=NODE_MODULES,
        help="where npm's package solc is, for contracts that are not compiled yet",
    )


if __name__ == "__main__":
    sys.exit(main())
