/**
 * A client of Rollcall. It logs on, sends heartbeats, sends and answers messages, and reconnects when the connection is lost, unless the
 * server's code forbids it. {@link io.github.rollcallgo.client.RollcallClient} is where to begin.
 */
package io.github.rollcallgo.client;
