// What both builds export.
export { PushKind, type Push, type StringMap } from "./bodies.js";
export { Client } from "./client.js";
export { Code, codeName, mayReconnect } from "./codes.js";
export { RollcallError, type ErrorDetails, type ErrorKind } from "./errors.js";
export type { AskOptions, Handler, Message, Reply, RequestOptions, SendOptions } from "./message.js";
export type { Options, ReconnectOptions } from "./options.js";
export type { State } from "./states.js";
