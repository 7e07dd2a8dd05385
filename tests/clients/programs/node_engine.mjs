// An engine in another language, without WhatsApp: the contract over RabbitMQ alone, as unoapi/connector/contract has it.
// node node_engine.mjs <amqp url> <prefix> <session> <folder>
import { appendFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { createHash, randomBytes } from "node:crypto";
import amqp from "amqplib";

const [url, prefix, session, folder] = process.argv.slice(2);
const ENTRY = `${prefix}.outgoing.whatsmeow`, EVENTS = `${prefix}.incoming.whatsmeow`, BROKER = `${prefix}.broker`;
const NOBODY = "15550000001", ECHO = "15550000008";
const KINDS = new Set(["text", "image", "contacts", "location", "reaction", "poll", "list", "buttons", "revoke", "edit"]);
const jid = (phone) => ({ jid: `${phone}@s.whatsapp.net`, kind: "user", phone });
const seconds = () => Math.floor(Date.now() / 1000);

// What must survive a SIGKILL: the sequence of events, and what became of each command.
mkdirSync(folder, { recursive: true });
const logFile = `${folder}/log.jsonl`;
const ledger = new Map();
const unpublished = new Map();
const waiting = [];
let seq = 0;
for (const line of existsSync(logFile) ? readFileSync(logFile, "utf8").split("\n") : []) {
  let entry;
  try { entry = JSON.parse(line); } catch { continue; }
  if (entry.command) ledger.set(entry.command, entry.state);
  if (entry.waiting) waiting.push(entry.waiting);
  if (entry.event) { seq = entry.event.seq; unpublished.set(entry.event.event_id, entry.event); }
  if (entry.published) unpublished.delete(entry.published);
}
const note = (entry) => appendFileSync(logFile, `${JSON.stringify(entry)}\n`);

const connection = await amqp.connect(url);
connection.on("error", () => process.exit(1));
const out = await connection.createConfirmChannel();
const commands = await connection.createChannel();
let connected = false;

const publish = (event) => new Promise((done, fail) => {
  out.publish(BROKER, EVENTS, Buffer.from(JSON.stringify(event)), {
    persistent: true, contentType: "application/json", messageId: event.event_id, mandatory: true,
  }, (error) => (error ? fail(error) : done()));
});

async function report(type, data, ...parts) {
  const number = seq + 1;
  const name = parts.length ? [type, ...parts] : [type, number];
  const event = {
    version: 1, type, event_id: createHash("sha256").update(JSON.stringify([session, ...name])).digest("hex").slice(0, 32),
    session, server: "node", engine: "node/1", seq: (seq = number), occurred_at: new Date().toISOString(),
    partition_key: `${session}|${data.chat?.jid ?? ""}`, data,
  };
  note({ event });
  await publish(event);
  note({ published: event.event_id });
}

const result = (command, status, more = {}) => {
  const { content = {}, silent, about } = command.data ?? {};
  const edited = content.kind === "edit" ? { edited: content.target_id } : {};
  return {
    command_id: command.command_id, status, to: command.to, attempts: command.attempt ?? 1,
    ...edited, ...(content.about ? { deleted: content.about } : {}), ...(silent ? { silent: true } : {}),
    ...(about ? { about } : {}), ...more,
  };
};

async function finish(command, status, more) {
  note({ command: command.command_id, state: status });
  ledger.set(command.command_id, status);
  await report("send_result", result(command, status, more), command.command_id, status);
}

const failed = (command, code, reason) => finish(command, "failed", { error: { code, reason } });

async function send(command) {
  const known = ledger.get(command.command_id);
  if (known === "sending") return finish(command, "ambiguous", { error: { code: 131000, reason: "killed while sending" } });
  if (known) return undefined;
  const content = command.data?.content ?? {};
  if (content.kind === "text" && typeof content.body !== "string") return failed(command, 131009, "text without a body");
  if (!KINDS.has(content.kind)) return failed(command, 131051, `messages of kind ${content.kind} cannot be sent`);
  if (command.expires_at && command.expires_at < Date.now()) return failed(command, 131000, "expired");
  if (command.to === NOBODY) return failed(command, 131026, "the number is not on WhatsApp");
  note({ command: command.command_id, state: "sending" });
  const waId = `3EB0${randomBytes(9).toString("hex").toUpperCase()}`;
  const chat = jid(command.to);
  await finish(command, "sent", { wa_id: waId, timestamp: seconds(), chat: chat.jid });
  await report("receipt", { status: "delivered", ids: [waId], chat, timestamp: seconds() }, waId, "delivered");
  if (command.to === ECHO) {
    const id = `3EB0${randomBytes(9).toString("hex").toUpperCase()}`;
    await report("message", { id, chat, sender: chat, timestamp_ms: Date.now(), content }, chat.jid, id);
  }
}

async function carryOut(message) {
  let command;
  try { command = JSON.parse(message.content.toString()); } catch { command = null; }
  if (command?.session !== session || typeof command?.command_id !== "string") return;
  if (command.type === "session.reload" && connected) {
    connected = false;
    command.type = "session.connect";
  }
  if (command.type === "session.connect" && !connected) {
    connected = true;
    const capabilities = { client_message_id: false, sync_ack: true, media_retry: false };
    await report("session", { state: "connected", jid: `${session}:1@s.whatsapp.net`, capabilities });
    while (waiting.length) await send(waiting.shift());
  } else if (command.type === "session.disconnect" && connected) {
    connected = false;
    await report("session", { state: "stopped" });
  } else if (command.type === "send") {
    if (connected) return send(command);
    note({ waiting: command });
    waiting.push(command);
  }
}

function answer(question) {
  if (question.method !== "contacts.check") return { error: `there is no method ${question.method}` };
  if (!Array.isArray(question.data?.phones)) return { error: "the question has not the form of the contract" };
  return { data: { there: question.data.phones.map((phone) => phone !== NOBODY) } };
}

const rpc = await connection.createChannel();
const RPC = `${prefix}.whatsmeow.rpc.${session}`;
await rpc.assertQueue(RPC, { durable: true, arguments: { "x-message-ttl": 30000, "x-expires": 60000, "x-max-length": 100 } });
await rpc.consume(RPC, (message) => {
  if (!message?.properties.replyTo?.startsWith("amq.rabbitmq.reply-to")) return;
  const reply = { version: 1, data: null, error: "", ...answer(JSON.parse(message.content.toString())) };
  rpc.publish("", message.properties.replyTo, Buffer.from(JSON.stringify(reply)), { contentType: "application/json" });
}, { noAck: true });

for (const event of unpublished.values()) { await publish(event); note({ published: event.event_id }); }
let chain = Promise.resolve();
await commands.prefetch(1); // in their order
await commands.consume(ENTRY, (message) => {
  if (message === null) return process.exit(1); // the queue is gone
  chain = chain.then(() => carryOut(message)).then(() => commands.ack(message))
    .catch((error) => { console.error(error); process.exit(1); });
  return undefined;
}, { consumerTag: "engine" });
process.once("SIGTERM", async () => { // finish the command in hand; the others stay in the queue
  await commands.cancel("engine");
  await chain;
  await connection.close();
  process.exit(0);
});
console.log("ready");
