/** Message is a message of the server, or of another user through the server. */
export interface Message {
  /** The message type, 1 to 0xFEFF. */
  readonly type: number;
  /** The sender's user ID, which the server vouches for; empty if it is the server itself. */
  readonly from: string;
  /** The body. The handler may keep it, and change it. */
  readonly body: Uint8Array;
  /** Whether the sender waits for an answer. */
  readonly isRequest: boolean;
  /**
   * Answers a request; a message that is none is not answered. It may be called after the handler has returned. It rejects as Client.send
   * does. When the body is too large to be sent the sender gets the error reply HandlerFailed.
   */
  reply(body: Uint8Array): Promise<void>;
  /** Answers a request with an error: a code from 3000 on, and a text for people. It rejects as Client.send does. */
  refuse(code: number, text?: string): Promise<void>;
}

/** Reply is the answer to a request. */
export interface Reply {
  /** The user who answered; empty if it was the server. */
  readonly from: string;
  /** The body. The caller may keep it, and change it. */
  readonly body: Uint8Array;
}

/**
 * Handler is called for a message. Handlers run one at a time, in the order of the messages, and the next message waits for the promise that a
 * handler returns; replies to the client's own requests do not wait. What a handler throws answers a request: a RollcallError with its code,
 * if that is 3000 or more, all else with HandlerFailed.
 */
export type Handler = (message: Message) => void | Promise<void>;

/** SendOptions go with a message. */
export interface SendOptions {
  /** The user the message is for. Without one it is for the server. */
  to?: string;
  /** Ends the wait. A message whose sending waits for the network is queued already, and goes out all the same. */
  signal?: AbortSignal;
}

/** RequestOptions go with a request. */
export interface RequestOptions extends AskOptions {
  /** The user who is asked. Without one it is the server. */
  to?: string;
}

/** AskOptions limit a wait for an answer. */
export interface AskOptions {
  /** How long to wait for the answer, in milliseconds. The default is 30,000; Infinity is for ever. */
  timeout?: number;
  /** Ends the wait; the promise is rejected with its reason. */
  signal?: AbortSignal;
}
