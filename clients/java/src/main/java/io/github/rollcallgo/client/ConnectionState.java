package io.github.rollcallgo.client;

/** What a client is doing. */
public enum ConnectionState {
    /** There is no connection; the client waits, or tries to make one. */
    RECONNECTING,
    /** The client is logged on. */
    ONLINE,
    /** The client has ended for good. */
    CLOSED
}
