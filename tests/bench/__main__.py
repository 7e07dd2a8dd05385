"""Run the benchmarks on throw-away servers and print one table; exit code 1 when a bar is missed."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import trustme

from tests.bench.measure import Row, console, table
from tests.bench.processes import forget_surroundings, log_tail
from tests.bench.scenarios import SCENARIOS
from tests.bench.stage import QUICK, Sizes, Stage
from tests.support.harness import SharedRabbit, checkout, end_on_signals, throw_away_servers
from tests.support.receiver import Receiver
from tests.support.vhosts import own_vhost
from unoapi.devenv.servers import RabbitNode

AUTHORITY = "authority.pem"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(SCENARIOS)}; none: all")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it works, judges nothing")
    parser.add_argument("--rabbitmq", metavar="FOLDER", type=Path, help="use the RabbitMQ of a test run")
    parser.add_argument("--before", metavar="COMMIT", help="an older commit, whose rate the scenario `before` compares")
    options = parser.parse_args()
    if "before" in options.names and not options.before:
        parser.error("the scenario `before` needs --before COMMIT")
    if unknown := set(options.names) - set(SCENARIOS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")

    end_on_signals()
    rows: list[Row] = []
    try:
        sizes = QUICK if options.quick else Sizes()
        rabbit = SharedRabbit(options.rabbitmq) if options.rabbitmq else None
        if rabbit:
            rabbit.join()
        for more in measure(options.names or list(SCENARIOS), sizes, options.before, rabbit=rabbit):
            rows += more
    finally:
        console.print(table(rows))
    return 0 if options.quick or all(row.ok for row in rows) else 1


def measure(
    names: list[str], sizes: Sizes, commit: str | None = None, *, rabbit: RabbitNode | None = None
) -> Iterator[list[Row]]:
    """Run scenarios on servers of their own, which are gone afterwards, or with a RabbitMQ that runs already."""
    forget_surroundings()
    with (
        tempfile.TemporaryDirectory(prefix="unoapi-bench-") as folder,
        throw_away_servers(Path(folder) / "servers", rabbit=rabbit, durable=False) as servers,
        own_vhost(servers) as baseline_url,
        own_vhost(servers) as amqp_url,
        Receiver(certificate=certificate(Path(folder))) as receiver,
    ):
        stage = Stage(
            baseline_url=baseline_url,
            amqp_url=amqp_url,
            redis_url=servers.redis_url,
            receiver=receiver,
            folder=Path(folder),
            authority=Path(folder) / AUTHORITY,
            sizes=sizes,
            before=checkout(commit, Path(folder) / "before") if commit else None,
        )
        for name in names:
            console.print(f"[bold]{name}[/]: {SCENARIOS[name].__doc__}")
            try:
                yield SCENARIOS[name](stage)
            except Exception:
                console.print("The last lines of the processes:", *log_tail(stage.folder), sep="\n", markup=False)
                raise


def certificate(folder: Path) -> Path:
    """A certificate for the receiver with its key, and beside it the authority that made it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / AUTHORITY)
    made = folder / "receiver.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(made)
    return made


if __name__ == "__main__":
    sys.exit(main())
