package io.github.rollcallgo.client;

/** The client is closed, by the program, or for good after an error, which then is the cause. */
public final class ClientClosedException extends RollcallException {
    private static final long serialVersionUID = 1L;

    ClientClosedException(RollcallException why) {
        super(why == null ? CloseCode.CLIENT_CLOSED : why.code(), "the client is closed", why);
    }
}
