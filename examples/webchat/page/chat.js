import { Rollcall } from "./rollcall.js";

// The message types of main.go.
const JOIN = 1, SAY = 2, HERE = 3;
// The close code of a session that another one of the same user has replaced.
const PUSHED_OUT = 2000;

const $ = (selector) => document.querySelector(selector);
const url = (location.protocol === "https:" ? "wss:" : "ws:") + "//" + location.host + "/ws";
const rooms = ["Lobby", "Kitchen", "Garden"];
let me, room = rooms[0], client;

// node returns an element with text in it. Nothing that others write becomes HTML.
function node(name, attributes, ...children) {
  const e = Object.assign(document.createElement(name), attributes);
  e.append(...children);
  return e;
}

const hue = (name) => [...name].reduce((h, c) => (h * 31 + c.codePointAt(0)) % 360, 7);

function show(...items) {
  const list = $("#lines");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  list.append(...items);
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function line({ from, text, at }) {
  const when = new Date(at);
  const time = node("time", { dateTime: when.toISOString() }, when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  if (from === me) return node("li", { className: "mine" }, text, time);
  const name = node("b", {}, from);
  name.style.color = `light-dark(hsl(${hue(from)} 65% 35%), hsl(${hue(from)} 70% 70%))`;
  return node("li", {}, name, text, time);
}

function people(names) {
  $("#people").replaceChildren(...names.map((n) => node("li", {}, n === me ? n + " (you)" : n)));
}

function state(text) {
  $("#state").hidden = !text;
  $("#state").textContent = text || "";
}

async function join(name) {
  room = name;
  for (const b of $("#rooms").children) b.toggleAttribute("aria-current", b.textContent === room);
  try {
    const got = await client.request(JOIN, { room });
    if (got.room !== room) return; // another one was chosen meanwhile
    $("#lines").replaceChildren();
    show(...got.lines.map(line), node("li", { className: "note" }, `You are in ${room}.`));
    $("#lines").scrollTop = $("#lines").scrollHeight;
    people(got.people);
  } catch (e) {
    state(e.message);
  }
}

function enter(user) {
  me = user;
  $("#enter").hidden = true;
  $("#chat").hidden = false;
  $("#me").textContent = me;
  if ($("#over").open) $("#over").close();
  client = new Rollcall(url, me, {
    online() {
      state();
      join(room);
    },
    message(type, value) {
      if (value.room !== room) return;
      if (type === SAY) show(line(value));
      if (type === HERE) people(value.people);
    },
    offline({ code, text, again }) {
      people([]);
      if (again) return state("Connecting again: " + (text || "the connection was lost"));
      if (code === PUSHED_OUT) return over("In another tab", `${me} is open in another tab or on another device now.`);
      over("Not connected", text || `The server has closed the connection (${code}).`);
    },
  });
}

function over(title, text) {
  $("#over h1").textContent = title;
  $("#over p").textContent = text;
  $("#over").showModal();
}

$("#rooms").append(...rooms.map((r) => node("button", { type: "button", onclick: () => join(r) }, r)));
$("#over").addEventListener("cancel", (e) => e.preventDefault());
$("#over button").onclick = () => enter(me);
$("#enter").onsubmit = (e) => {
  e.preventDefault();
  const user = e.target.user.value.trim();
  if (user) enter(user);
};
$("#say").onsubmit = async (e) => {
  e.preventDefault();
  const input = e.target.text, text = input.value.trim();
  if (!text) return;
  input.value = "";
  try {
    await client.request(SAY, { text });
    state();
  } catch (err) {
    input.value = text; // nothing that was written is lost
    state("Not sent: " + err.message);
  }
};
