package io.github.rollcallgo.client;

/** The connection was lost before a reply came. The server may have handled the request. The cause says why the connection was lost. */
public final class DisconnectedException extends RollcallException {
    private static final long serialVersionUID = 1L;

    DisconnectedException(RollcallException why) {
        super(why.code(), "the connection was lost before the reply came: " + why.text(), why);
    }
}
