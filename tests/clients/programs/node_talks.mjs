// Four libraries of Node, as they are shipped: each call of each, and what came of it, as one JSON object.

import { createHmac } from "node:crypto";
import { createWhatsAppAdapter } from "@chat-adapter/whatsapp";
import { Client } from "@great-detail/whatsapp";
import { WhatsAppClient } from "@kapso/whatsapp-cloud-api";
import { WhatsAppAPI } from "whatsapp-api-js";
import * as parts from "whatsapp-api-js/messages";

const [url, phone, token, account, contact, link] = process.argv.slice(2);
const results = {};

async function call(name, run) {
  try {
    const value = await run();
    results[name] = { ok: true, value: JSON.parse(JSON.stringify(value ?? null)) };
  } catch (error) {
    const answer = await error.response?.text?.().catch(() => "");
    results[name] = { ok: false, message: `${error.message} ${answer ?? ""}`.slice(0, 300) };
  }
}

// Chat SDK: it answers to the contact of an event, by our user_id.
const logger = { debug() {}, info() {}, warn() {}, error() {}, child() { return logger; } };
const chat = createWhatsAppAdapter({
  apiUrl: url, accessToken: token, phoneNumberId: phone, appSecret: "s", verifyToken: "v", userName: "bot", logger,
});
const thread = chat.encodeThreadId({ phoneNumberId: phone, userWaId: contact });
await call("chat: text", () => chat.postMessage(thread, "hello"));
await call("chat: markdown", () => chat.postMessage(thread, { markdown: "**hello**" }));
await call("chat: reaction", () => chat.addReaction(thread, "wamid.X", "👍"));

// kapso
const kapso = new WhatsAppClient({ baseUrl: url, accessToken: token });
const to = { phoneNumberId: phone, to: contact };
await call("kapso: text", () => kapso.messages.sendText({ ...to, body: "hello" }));
await call("kapso: both", () => kapso.messages.sendText({ ...to, recipient: contact, body: "hello" }));
await call("kapso: image", () => kapso.messages.sendImage({ ...to, image: { link } }));
await call("kapso: location", () => kapso.messages.sendLocation({ ...to, location: { latitude: 1, longitude: 2 } }));
await call("kapso: templates", () => kapso.templates.list({ businessAccountId: account }));

// great-detail
const detail = new Client({ prefixUrl: url, request: { headers: { Authorization: `Bearer ${token}` } } });
const json = (promise) => promise.json();
await call("detail: text", () =>
  json(detail.message.createMessage({ phoneNumberID: phone, to: contact, type: "text", text: { body: "hello" } })));
await call("detail: account", () => json(detail.whatsappBusinessAccount.get(account, { fields: ["id", "name"] })));
await call("detail: numbers", () => json(detail.phoneNumbers.listPhoneNumbers({ businessAccountID: account })));
await call("detail: name", () => json(detail.phoneNumbers.updatePhoneNumber({ phoneNumberID: phone, new_display_name: "x" })));
await call("detail: create", () => json(detail.template.create(account, {
  name: "made_by_node", language: "en", category: "UTILITY", components: [{ type: "BODY", text: "x" }] })));
const made = results["detail: create"].value?.id ?? "0";
await call("detail: get", () => json(detail.template.get(made, { fields: ["name", "status"] })));
await call("detail: update", () => json(detail.template.update(made, { components: [{ type: "BODY", text: "y" }] })));
await call("detail: subscriptions", () => json(detail.subscribedApps.listSubscriptions({ businessAccountID: account })));

// whatsapp-api-js: a transport of one's own.
const own = (address, options) => fetch(String(address).replace("https://graph.facebook.com", url), options);
const api = new WhatsAppAPI({ token, appSecret: "s", v: "v24.0", ponyfill: { fetch: own, subtle: crypto.subtle } });
const send = async (message) => {
  const answer = await api.sendMessage(phone, contact, message);
  if (answer.error) throw new Error(JSON.stringify(answer.error));
  return answer;
};
await call("api-js: text", () => send(new parts.Text("hello")));
await call("api-js: contacts", () => send(new parts.Contacts([
  new parts.Name("Ana", "Ana"), new parts.Phone("+5511988887777") ])));
await call("api-js: location", () => send(new parts.Location(1, 2, "here", "there")));
await call("api-js: block", async () => {
  const answer = await api.blockUser(phone, contact);
  if (answer.error) throw new Error(JSON.stringify(answer.error));
  return answer;
});
await call("api-js: unblock", async () => {
  const answer = await api.unblockUser(phone, contact);
  if (answer.error) throw new Error(JSON.stringify(answer.error));
  return answer;
});
const event = JSON.stringify({ object: "whatsapp_business_account", entry: [{ id: account, changes: [{ field: "messages",
  value: { messaging_product: "whatsapp", metadata: { display_phone_number: phone, phone_number_id: phone },
    contacts: [{ profile: { name: "Maria" }, wa_id: contact, user_id: contact }],
    messages: [{ from: contact, id: "wamid.X", timestamp: "1", type: "text", text: { body: "hi" } }] } }] }] });
const signature = `sha256=${createHmac("sha256", "s").update(event).digest("hex")}`;
await call("api-js: reply", async () => {
  let answer;
  api.on.message = async ({ reply }) => { answer = await reply(new parts.Text("answer")); };
  await api.post(JSON.parse(event), event, signature);
  await new Promise((resolve) => setTimeout(resolve, 500));
  if (!answer || answer.error) throw new Error(JSON.stringify(answer?.error ?? "no answer"));
  return answer;
});

console.log(JSON.stringify(results));
