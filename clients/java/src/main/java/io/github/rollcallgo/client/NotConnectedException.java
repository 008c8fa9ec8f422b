package io.github.rollcallgo.client;

/** A message was not sent, because there is no connection now. It is not kept for later. */
public final class NotConnectedException extends RollcallException {
    private static final long serialVersionUID = 1L;

    NotConnectedException() {
        super(CloseCode.NETWORK_ERROR, "the client is not connected");
    }
}
