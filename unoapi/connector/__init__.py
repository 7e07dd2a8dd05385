"""The connector: the one part that talks to WhatsApp. RabbitMQ, Redis and the media store tie it to the rest.

    unoapi.outgoing.whatsmeow                        one queue for all sessions
          │ Router (connector process)               `session.*` commands go to the Supervisor
          ▼
    unoapi.outgoing.whatsmeow.<phone>                one queue per session
          │ Consumer → CommandHandler                at most one send per command, written to the Outbox first
          ▼
       Engine (neonize or simulated) ◄──► WhatsApp
          │ every event goes to the Outbox           one SQLite file per session, on the disk before all else
          ▼ OutboxPublisher                          converted, confirmed, then removed
    unoapi.incoming.whatsmeow                        to the workers

Two kinds of processes. `python -m unoapi.connector` (`__main__`) has two threads, Router and Supervisor; it never loads
a WhatsApp library. The Supervisor starts one `python -m unoapi.connector.session_process` per session, with a thread
each for the engine, the Consumer, its worker and that of the RpcServer (which numbers are on WhatsApp?), the
OutboxPublisher and the instructions on standard input. `Leases` in Redis let only one connector run a session.

Read in this order: `engines/base` (what a library must do), `session_process` (the parts of a session), `outbox`,
`command_handler`, `outbox_publisher`, then `supervisor` and `router`; `convert/` when a kind of message is at stake.
What travels on the queues is described in `contract/README.md`.
"""
