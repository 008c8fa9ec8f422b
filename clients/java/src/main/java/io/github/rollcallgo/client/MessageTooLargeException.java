package io.github.rollcallgo.client;

/** A body was not sent, because it is larger than the server or this client allows. */
public final class MessageTooLargeException extends RollcallException {
    private static final long serialVersionUID = 1L;

    MessageTooLargeException(int size, int limit) {
        super(CloseCode.MESSAGE_TOO_LARGE, "a body of " + size + " bytes, and the limit is " + limit);
    }
}
